#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation for the action plugin ``multigpu.vllm.tune_ledger``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tune_ledger
short_description: Record the results of a search for vLLM settings and choose the next measurement
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - The role P(multigpu.vllm.tune#role) measures a server with different settings. This action keeps the results in a
    ledger file on the controller, chooses the next settings with Optuna, and writes the variables to commit.
  - The ledger of a node is the file C(NODE.json) in O(directory). An interrupted search resumes from this file, and no
    settings are measured twice, as long as server, model and load test are the same.
  - Runs on the controller and does not connect to the node.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action
  - multigpu.vllm.attributes.action_group
attributes:
  check_mode:
    support: full
    details: Reads the ledger and writes no file.
  diff_mode:
    support: none
    details: This action shows no difference.
  idempotent:
    support: partial
    details: O(state=record) adds entries each time.
options:
  state:
    description:
      - V(start) begins a run of the search. It checks O(search) and returns the first measurement.
      - V(next) returns the next measurement.
      - V(record) adds the result of a measurement to the ledger.
      - V(result) returns the outcome and writes the variables to commit, C(NODE.yml) in O(directory).
    type: str
    choices: [start, next, record, result]
    required: true
  directory:
    description: Directory on the controller for the ledgers. A relative path is relative to the directory in which the
      command was run.
    type: path
    required: true
  search:
    description: Description of the search, which must be the same in every call.
    type: dict
    required: true
    suboptions:
      goal:
        description: Goal of the search, as described in the role P(multigpu.vllm.tune#role).
        type: str
        choices: [throughput, ttft, itl, context]
        default: throughput
      space:
        description:
          - Values to try for each setting. Names that begin with C(NCCL_) are environment variables; null keeps the
            server's own value.
          - The default is a search space for the goal, without settings that have no effect on O(search.served).
        type: dict
        default: {}
      initial_settings:
        description: Settings to try first.
        type: list
        elements: dict
        default: []
      trials:
        description: Maximum number of trials, including those of earlier runs for the same server, model and load.
        type: int
        default: 12
      time_budget:
        description: Maximum time of the run in seconds.
        type: float
        default: 7200.0
      seed:
        description: Seed of the sampler. The same ledger and seed give the same trials.
        type: int
        default: 0
      min_throughput:
        description: Fraction of the original server's tokens per second that settings must keep for a goal other than
          V(throughput).
        type: float
        default: 0.5
      max_ttft:
        description: Maximum 95th percentile of the time to first token in seconds, for every goal.
        type: float
      load:
        description: Load test for each measurement.
        type: dict
        default: {}
        suboptions:
          prompt_tokens:
            description: Prompt tokens of each request.
            type: int
            default: 512
          output_tokens:
            description: Tokens to generate for each request.
            type: int
            default: 128
          concurrency:
            description: Number of simultaneous streams.
            type: int
            default: 32
          duration:
            description: Duration of the load test in seconds.
            type: float
            default: 30.0
      repeats:
        description: Number of final measurements of the best settings and of the original server.
        type: int
        default: 3
      start_timeout:
        description: Maximum start time of a server in seconds.
        type: float
        default: 600.0
      served:
        description: The container of the original server, as M(multigpu.vllm.vllm_plan) plans it.
        type: dict
        default: {}
      environment:
        description: C(vllm_environment) of the original server, to which NCCL variables are added.
        type: dict
        default: {}
      extra_args:
        description: C(vllm_extra_args) of the original server. The search cannot change
          settings that are listed there.
        type: str
        default: ""
  discard:
    description: Whether O(state=start) deletes the ledger of earlier runs.
    type: bool
    default: false
  started_at:
    description: RV(started_at) that O(state=start) returned. The time budget begins at this time. Required for
      O(state=next).
    type: float
  measurement:
    description: The measurement that O(state=start) or O(state=next) returned. Required for O(state=record).
    type: dict
  probe:
    description: Result of M(multigpu.vllm.throughput_probe). Omit it if there was no server to measure.
    type: dict
    default: {}
  reason:
    description: Reason why there was no server to measure, as a text or a list of texts.
    type: raw
requirements:
  - Optuna on the controller (C(pip install optuna))
seealso:
  - module: multigpu.vllm.throughput_probe
"""

EXAMPLES = r"""
- name: Begin the search
  multigpu.vllm.tune_ledger:
    state: start
    directory: vllm-tuning
    search: {space: {max_num_seqs: [16, 64, 256]}}
  register: search

- name: Choose the settings to measure next
  multigpu.vllm.tune_ledger:
    state: next
    directory: vllm-tuning
    search: {space: {max_num_seqs: [16, 64, 256]}}
    started_at: "{{ search.started_at }}"
  register: trial

- name: Record that the trial did not start
  multigpu.vllm.tune_ledger:
    state: record
    directory: vllm-tuning
    search: {space: {max_num_seqs: [16, 64, 256]}}
    measurement: "{{ trial }}"
    reason: CUDA out of memory
  when: trial.server == 'trial'
"""

RETURN = r"""
kind:
  description: V(original), V(trial) or V(confirmation), a final measurement; null if nothing is left to measure.
  returned: for O(state=start) and O(state=next)
  type: str
  sample: trial
settings:
  description: Settings to measure, empty for the original server; null if nothing is left to measure.
  returned: for O(state=start) and O(state=next)
  type: dict
  sample: {max_num_seqs: 64, NCCL_P2P_LEVEL: SYS}
server:
  description: Server to measure, V(trial) or V(original); null if nothing is left to measure.
  returned: for O(state=start) and O(state=next)
  type: str
  sample: trial
overrides:
  description: RV(settings) in the format of C(vllm_overrides), an option of the role P(multigpu.vllm.vllm#role).
  returned: for O(state=start) and O(state=next)
  type: dict
  sample: {max_num_seqs: 64, environment: {NCCL_P2P_LEVEL: SYS}}
steps:
  description: Steps for M(multigpu.vllm.throughput_probe).
  returned: for O(state=start) and O(state=next)
  type: list
  elements: dict
  sample:
    - {prompt_tokens: 512, output_tokens: 128, concurrency: 32, duration: 30.0}
client_limited_retries:
  description: Value for the option C(client_limited_retries) of M(multigpu.vllm.throughput_probe).
  returned: for O(state=start) and O(state=next)
  type: int
  sample: 2
load_seconds:
  description: Maximum duration of RV(steps) in seconds, including retries.
  returned: for O(state=start) and O(state=next)
  type: float
  sample: 105.0
start_timeout:
  description: Maximum start time of the trial in seconds, within the time budget.
  returned: for O(state=start) and O(state=next)
  type: float
  sample: 600.0
began:
  description: Unix time at which the measurement was chosen.
  returned: for O(state=start) and O(state=next)
  type: float
  sample: 1795428000.0
started_at:
  description: Unix time at which the run began.
  returned: for O(state=start)
  type: float
  sample: 1795428000.0
trials_left:
  description: Number of trials that are left for the search.
  returned: for O(state=start)
  type: int
  sample: 12
floor_known:
  description: Whether it is known which settings are too slow for the goal.
  returned: for O(state=record)
  type: bool
  sample: true
reason:
  description: Reason why the measurement failed; null if it succeeded.
  returned: for O(state=record)
  type: str
  sample: CUDA out of memory
outcome:
  description: The outcome of the search.
  returned: for O(state=result)
  type: dict
  contains:
    best:
      description: The best settings; null if no settings are better than the original.
      returned: success
      type: dict
      sample: {max_num_seqs: 64}
    original:
      description: Mean value of the original server in the final measurements; null without final measurements.
      returned: success
      type: float
      sample: 1204.0
    winner:
      description: Mean value of the best settings in the final measurements; null without final measurements.
      returned: success
      type: float
      sample: 1496.0
    gain:
      description: Gain of the best settings as a fraction of the original value; null without final measurements.
      returned: success
      type: float
      sample: 0.243
    uncertainty:
      description: Half the width of the 95 % interval of the gain, as a fraction.
      returned: success
      type: float
      sample: 0.021
    proven:
      description: Whether the gain is larger than its uncertainty.
      returned: success
      type: bool
      sample: true
    tried:
      description: Number of trials.
      returned: success
      type: int
      sample: 12
    failed:
      description: Number of trials that failed or were too slow.
      returned: success
      type: int
      sample: 1
    confirm:
      description: Whether final measurements are missing.
      returned: success
      type: bool
      sample: false
    failed_again:
      description: Whether the best settings failed or were too slow in a final measurement.
      returned: success
      type: bool
      sample: false
    floor_known:
      description: Whether it is known which settings are too slow for the goal.
      returned: success
      type: bool
      sample: true
    summary:
      description: The outcome as a sentence.
      returned: success
      type: str
      sample: 12 settings tried for throughput (1 failed or too slow); none was better than the original
variables_file:
  description: File with the variables to commit. It contains no variables if RV(outcome.proven) is false.
  returned: for O(state=result)
  type: str
  sample: /home/user/vllm-tuning/gpu-01.yml
ledger_file:
  description: Path of the ledger file.
  returned: for O(state=result)
  type: str
  sample: /home/user/vllm-tuning/gpu-01.json
lines:
  description: Messages for the user, each with the name of the node.
  returned: success
  type: list
  elements: str
  sample: ['gpu-01: trial 3 of 12: {"max_num_seqs": 64}: 1480.2 tokens/s, TTFT p95 0.210 s']
"""
