#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: throughput_probe
short_description: Measure what a vLLM server delivers under load
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Sends streaming requests at one or more levels of load and measures throughput and latency, while it samples the
    GPUs of the host on which it runs.
  - Prompts are random from their first token on, so that no prefix cache helps. With O(endpoint=completions) they are
    token ids, exact in size. Otherwise they are words, sized once with the server's own count and then put in ever
    new order. No tokenizer is downloaded.
  - Tokens are counted from the server's C(usage), never from the pieces of the stream, and compared with the server's
    own counter.
  - The probe watches itself. A step that the load client limited is marked RV(results[].void).
  - A server that is down, hangs, or answers something else is a finding with cause and remedy, not a failure of the
    module. Only input that cannot be right fails, and always before any load.
options:
  base_url:
    description:
      - Root URL of the vLLM server, as seen from the host on which the module runs, without C(/v1).
      - Proxy settings of the environment are not used.
    required: true
  timeout:
    description:
      - Longest wait, in seconds, for a connection, for the first token, and between two tokens.
      - Under more load than the server can serve at once, the first token waits in a queue. Allow for that.
    default: 60.0
  model:
    description:
      - Name of the served model. Without it the first one that the server lists is used.
    type: str
  endpoint:
    description:
      - Which interface to load. V(completions) has no chat template in the way and needs no tokenizer call per prompt.
    type: str
    choices: [completions, chat]
    default: completions
  steps:
    description:
      - Load steps, run one after another. Each is a closed loop of O(steps[].concurrency) streams, of which each sends
        its next request as soon as its last one has ended, or with O(steps[].rate) an open loop.
      - Each step needs either O(steps[].requests) or O(steps[].duration).
    type: list
    elements: dict
    default:
      - prompt_tokens: 512
        output_tokens: 128
        concurrency: 8
        duration: 10.0
    suboptions:
      name:
        description: Name in the result. The default is made of sizes and load, like V(512x128@8) or V(512x128@2.5/s).
        type: str
      prompt_tokens:
        description: Length of every prompt in tokens.
        type: int
        required: true
      output_tokens:
        description: Length of every answer in tokens.
        type: int
        required: true
      concurrency:
        description: Number of requests under way at the same time. With O(steps[].rate) it is the highest number.
        type: int
        required: true
      rate:
        description:
          - Requests a second, sent however slow the server answers (open loop), as users do who do not wait for each
            other.
          - A request that is due while O(steps[].concurrency) others are under way waits until one of them ends, and is
            counted in RV(results[].held).
        type: float
      arrivals:
        description:
          - How the requests of O(steps[].rate) come, V(poisson) at random as those of many independent users, or
            V(constant) evenly.
        type: str
        choices: [poisson, constant]
        default: poisson
      requests:
        description: End the step after this many requests.
        type: int
      duration:
        description:
          - End the step after this many seconds.
          - Requests under way then get O(drain_timeout) more seconds, which count for no throughput.
        type: float
      optional:
        description: Skip the step where it does not fit the server's context length, instead of failing.
        type: bool
        default: false
      repeats:
        description: Run the step this many times. Latencies are pooled, RV(results[].variation) is over the repeats.
        type: int
        default: 1
  warmup_requests:
    description:
      - Number of requests before the first step that are not measured.
      - Where none of them completes, no load is made.
    type: int
    default: 4
  drain_timeout:
    description:
      - How long, in seconds, requests under way may go on after the end of a step with O(steps[].duration).
      - What is then still under way is cancelled and counted as C(cancelled) in RV(results[].requests).
    type: float
    default: 5.0
  seed:
    description:
      - Seed of the random prompts. Without it every run sends other prompts.
      - With the same seed the same prompts are sent again, and a server that has run since can answer them faster from
        its prefix cache; see RV(results[].prefix_cache_hits).
    type: int
  reuse_connections:
    description:
      - Whether a stream keeps its connection for its next request. With V(false) each request opens a new one, which is
        not part of its time to first token.
    type: bool
    default: true
  processes:
    description:
      - Number of processes that make the load, each with its share of the streams, of the requests and of the rate.
      - One process is good for about 1,000 streams or 40,000 tokens a second. Use more where
        C(performance.client_limited) says so and this host has processor cores to spare.
    type: int
    default: 1
  share:
    description:
      - Make only a part of every step, because several load hosts make it together. All are given the same O(steps),
        and each its own O(share.index).
      - After a step with O(steps[].requests), whose end nobody knows in advance, no step can be shared any more.
    type: dict
    suboptions:
      index:
        description: Number of this load host, from 0. The one whose number is O(share.count) only samples the GPUs.
        type: int
        required: true
      count:
        description: Number of load hosts.
        type: int
        required: true
  start_at:
    description:
      - When to start the first step, in seconds since 1970 by the clock of this host, so that several load hosts start
        together. What comes before (sizing, warming up) is done at once.
      - Each step after one with O(steps[].duration) then has a fixed time too.
      - Where that time is over, the step starts at once.
    type: float
  mergeable:
    description:
      - Whether to return RV(results[].mergeable), from which the filter P(multigpu.vllm.merge_loads#filter) makes one
        result of those of several load hosts.
    type: bool
    default: false
  sample_gpus:
    description: Whether to sample the GPUs of this host during the load.
    type: bool
    default: true
  sample_interval:
    description: Seconds between two samples of the GPUs, at least 0.05.
    type: float
    default: 0.1
  max_ttft:
    description: Limit for the 95th percentile of the time to first token in seconds, for C(performance.ttft).
    type: float
  max_itl:
    description: Limit for the 95th percentile of the inter-token latency in seconds, for C(performance.itl).
    type: float
  targets:
    description:
      - What makes an answer good enough. It decides RV(results[].within_targets) and RV(results[].goodput), and no
        finding.
    type: dict
    suboptions:
      ttft:
        description: Longest time to first token of a request in seconds.
        type: float
      itl:
        description: Longest mean inter-token latency of a request in seconds, which is its TPOT.
        type: float
  progress_path:
    description:
      - File on this host in which the module keeps how far it is while it runs, as one JSON object. It is gone at the
        end.
      - In a playbook it gets a name of its own, and what it tells is shown meanwhile, drawn anew every second on a
        terminal, and as plain timed lines elsewhere. If nobody reads it any more, the load ends after a minute.
    type: path
extends_documentation_fragment:
  - multigpu.vllm.vllm_server
  - multigpu.vllm.attributes
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the
      controller.
    support: full
  check_mode:
    support: full
    details: In check mode no request is sent, and every finding is C(not_tested).
  diff_mode:
    support: none
    details: There is never a difference to show, because this module changes nothing.
  idempotent:
    support: full
    details: The load changes nothing on the server, but the figures differ from run to run.
requirements:
  - Python library C(requests)
  - Python library C(nvidia-ml-py), or C(nvidia-smi), to sample the GPUs
notes:
  - In an open loop TTFT and E2E count from the moment at which the request was due, also where it was sent later,
    because no stream was free or the load client was late. Counted from the sending, just the waits that a slow server
    causes would be left out (coordinated omission). RV(results[].ttft_sent) has that figure too, for comparison.
  - TTFT is the arrival of the first token (content, reasoning or tool call, not the message that only opens a chat
    answer) minus the moment the request was written to the socket. E2E is the same for the last token.
  - TPOT is (E2E - TTFT) / (n - 1) for an answer of n tokens, one value a request.
  - ITL is the gap between two arrivals divided by the tokens that the second one brought, one value a token.
  - Latencies are of completed requests only. An answer that is shorter than asked for counts as failed (C(cut_short)).
  - After as many failures in a row as there are streams (at least three) a step ends early, and where none of its
    requests completed the steps after it are skipped.
seealso:
  - module: multigpu.vllm.gpu_facts
  - module: multigpu.vllm.vllm_tp_check
"""

EXAMPLES = r"""
- name: Load the server of this node for ten seconds
  multigpu.vllm.throughput_probe:
    base_url: http://127.0.0.1:8000
  register: probe

- name: Show the throughput
  ansible.builtin.debug:
    msg: "{{ first.output_throughput | round }} tokens/s, first token after {{ (first.ttft.p50 * 1000) | round }} ms"
  vars:
    first: "{{ probe.results | first }}"
  when: probe.results | length > 0 and probe.results[0].output_throughput is not none

- name: Measure several levels of load, and a long prompt where the model takes it
  multigpu.vllm.throughput_probe:
    base_url: https://127.0.0.1:8000
    api_key: "{{ vault_vllm_api_key }}"
    ca_path: /etc/ssl/private-authority.pem
    steps:
      - {prompt_tokens: 128, output_tokens: 128, concurrency: 1, requests: 8}
      - {prompt_tokens: 512, output_tokens: 256, concurrency: 32, duration: 30}
      - {name: long, prompt_tokens: 16384, output_tokens: 128, concurrency: 4, requests: 8, optional: true}
    max_ttft: 2.0
  register: probe

- name: Stop where requests fail or tokens come late
  ansible.builtin.assert:
    that: failures | length == 0
    fail_msg: "{{ failures | map(attribute='summary') | join('; ') }}"
  vars:
    failures: "{{ probe.findings | selectattr('status', 'equalto', 'fail') }}"

- name: Measure the chat interface three times over
  multigpu.vllm.throughput_probe:
    base_url: http://127.0.0.1:8000
    endpoint: chat
    steps:
      - {prompt_tokens: 256, output_tokens: 64, concurrency: 16, requests: 64, repeats: 3}
    sample_gpus: false
  register: chat

- name: Send requests as independent users do, two and a half a second
  multigpu.vllm.throughput_probe:
    base_url: http://127.0.0.1:8000
    steps:
      - {prompt_tokens: 512, output_tokens: 128, concurrency: 256, rate: 2.5, duration: 60}
  register: users

- name: Stop where users would have to wait
  ansible.builtin.assert:
    that: users.results[0].held == 0 and users.results[0].ttft.p99 < 1

- name: Say how steady it was
  ansible.builtin.debug:
    msg: "Throughput varies by {{ (chat.results[0].variation * 100) | round(1) }} % between the repeats"
"""

RETURN = r"""
server:
  description: The server that was loaded. Values are null where it did not tell.
  type: dict
  returned: success
  contains:
    version:
      description: Version of vLLM.
      type: str
      returned: success
      sample: 0.32.0
    model:
      description: Served name of the model.
      type: str
      returned: success
      sample: meta-llama/Llama-3.1-8B-Instruct
    max_model_len:
      description: Longest context, prompt and output together, in tokens.
      type: int
      returned: success
      sample: 8192
results:
  description: One entry for each step, in order. What could not be measured is null.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: Name of the step.
      type: str
      returned: success
      sample: 512x128@32
    prompt_tokens:
      description: Mean prompt length by the server's usage.
      type: int
      returned: success
      sample: 512
    output_tokens:
      description: Mean length of a completed answer by the server's usage.
      type: int
      returned: success
      sample: 128
    requested:
      description: The C(prompt_tokens) and C(output_tokens) that were asked for.
      type: dict
      returned: success
      sample: {prompt_tokens: 512, output_tokens: 128}
    concurrency:
      description: Number of streams.
      type: int
      returned: success
      sample: 32
    rate:
      description: Requests a second that an open loop was asked for, else null.
      type: float
      returned: success
      sample: null
    arrivals:
      description: How the requests of an open loop came, else null.
      type: str
      returned: success
      sample: null
    skipped:
      description: Why the step was not run, else null.
      type: str
      returned: success
      sample: null
    requests:
      description: How many requests C(completed), C(failed), or were C(cancelled) at the end of the step.
      type: dict
      returned: success
      sample: {completed: 256, failed: 0, cancelled: 0}
    failures:
      description: Number of failed requests by reason.
      type: dict
      returned: success
      sample: {first_byte_timeout: 2}
    failure_details:
      description: For each reason what the server or the operating system said first.
      type: dict
      returned: success
      sample: {first_byte_timeout: no token for 60 s}
    held:
      description:
        - Requests of an open loop that had to wait, when they were due, because O(steps[].concurrency) others were
          under way. Null in a closed loop.
      type: int
      returned: success
      sample: null
    unsent:
      description: Those of them that had not been sent when the step ended.
      type: int
      returned: success
      sample: null
    schedule_lag:
      description:
        - How late the requests of an open loop were sent, because no stream was free, a connection had to be opened, or
          the load client was busy, in seconds, as C(mean), C(p50), C(p95), C(p99). Null in a closed loop.
      type: dict
      returned: success
      sample: null
    gave_up:
      description: The reason of the failures for which the step was ended early, else null.
      type: str
      returned: success
      sample: null
    tokens:
      description: Output tokens of all requests by usage, also of those that failed or were cancelled.
      type: int
      returned: success
      sample: 32768
    started:
      description: Seconds from the begin of the load, on the clock of RV(gpu_samples).
      type: float
      returned: success
      sample: 0.002
    ended:
      description: When the last token came, or when the duration was over, on the same clock.
      type: float
      returned: success
      sample: 18.44
    duration:
      description: Measured time in seconds, the sum over repeats.
      type: float
      returned: success
      sample: 18.438
    output_throughput:
      description:
        - Output tokens a second over the whole step.
        - With C(requests) it is the tokens of completed requests over the time from the first request to the last
          token, with C(duration) the tokens that arrived within it over it.
      type: float
      returned: success
      sample: 1777.2
    tokens_per_arrival:
      description:
        - How many tokens came at a time, as a mean over the completed requests. More than a few come together where a
          proxy gathers them or the server was told to (C(--stream-interval)); then nobody can tell when the first came.
      type: float
      returned: success
      sample: 1.02
    steady_throughput:
      description:
        - Output tokens a second while all streams were at work, from the first token of the last stream to start until
          the first stream had nothing more to do.
        - Null where that was shorter than one second.
      type: float
      returned: success
      sample: 1812.5
    request_throughput:
      description: Completed requests a second.
      type: float
      returned: success
      sample: 13.9
    within_targets:
      description: Completed requests that kept every one of O(targets). Null without targets.
      type: int
      returned: success
      sample: 251
    goodput:
      description: The same a second, a request that completed after the O(steps[].duration) not counted.
      type: float
      returned: success
      sample: 13.6
    ttft:
      description: Time to first token in seconds, as C(mean), C(p50), C(p95), C(p99).
      type: dict
      returned: success
      sample: {mean: 0.212, p50: 0.201, p95: 0.333, p99: 0.351}
    ttft_sent:
      description: The same from the moment of the sending in an open loop, likewise. Null in a closed loop.
      type: dict
      returned: success
      sample: null
    itl:
      description: Inter-token latency in seconds, likewise.
      type: dict
      returned: success
      sample: {mean: 0.0161, p50: 0.0158, p95: 0.0181, p99: 0.0233}
    tpot:
      description: Time per output token in seconds, likewise.
      type: dict
      returned: success
      sample: {mean: 0.0161, p50: 0.0161, p95: 0.0168, p99: 0.017}
    e2e:
      description: Time to the last token in seconds, likewise.
      type: dict
      returned: success
      sample: {mean: 2.26, p50: 2.25, p95: 2.41, p99: 2.44}
    token_ratio:
      description: Tokens that the server's counter gained for each token that the client counted.
      type: float
      returned: success
      sample: 1.0
    token_ratio_reason:
      description: Why there is no ratio, else null.
      type: str
      returned: success
      sample: null
    shared:
      description: Whether other clients used the server meanwhile, as far as its counters tell.
      type: bool
      returned: success
      sample: false
    prefix_cache_hits:
      description: Part of the prompt tokens that the prefix cache held, from 0 to 1.
      type: float
      returned: success
      sample: 0.0
    client:
      description:
        - The load client itself. C(cpu) is processor seconds a second of all its C(processes) (1.0 is one core),
          C(lag_p99) how late the event loop of the latest one was in seconds, C(backlog) the bytes a stream that had
          arrived and waited to be read (mean over streams, 99th percentile over time), C(free_cores) how many
          processor cores of this host were idle, C(limited) whether the client voids the step, and C(reason) why.
      type: dict
      returned: success
      sample:
        cpu: 0.21
        lag_p99: 0.0013
        backlog: 24.5
        processes: 1
        free_cores: 11.2
        limited: false
        reason: null
    void:
      description: Whether the load client limited the step, so that its figures say nothing about the server.
      type: bool
      returned: success
      sample: false
    repeats:
      description: How many times the step was run.
      type: int
      returned: success
      sample: 1
    variation:
      description:
        - Coefficient of variation (standard deviation over mean) of the throughput over the repeats.
        - For a step that ran once, over the whole seconds of its steady time, of which it needs three.
      type: float
      returned: success
      sample: 0.012
    timeline:
      description: Output tokens that arrived in each second, on the clock of C(started).
      type: list
      elements: dict
      returned: success
      sample: [{time: 0.002, tokens: 1604}, {time: 1.002, tokens: 1811}]
    mergeable:
      description:
        - The step in a form that can be added to those of other load hosts, and from which distributions can be read.
          Null without O(mergeable).
        - Times in it are seconds since 1970 by the clock of this host.
      type: dict
      returned: success
      sample: null
      contains:
        step:
          description: The whole step, of which this load was O(share).
          type: dict
          returned: with O(mergeable)
          sample: {name: 512x128@32, prompt_tokens: 512, output_tokens: 128, concurrency: 32, duration: 30.0}
        counters:
          description: The server's own counters C(before) and C(after) the step, or the reason why there are none.
          type: dict
          returned: with O(mergeable)
          sample: {before: {generation_tokens: 512.0}, after: {generation_tokens: 33280.0}}
        outcomes:
          description:
            - One entry for each repeat, with counts, C(failures), the C(timeline) in bins of 10 ms, and the
              distributions of C(ttft), C(ttft_sent), C(itl), C(tpot), C(e2e) and C(schedule_lag).
            - A distribution has C(bins), C(count) and C(total), the sum of all values in seconds. Each of C(bins) is a
              pair, its number and how many values are in it. Bin C(i) holds the values from V(exp((i-70000\)/1000\))
              to V(exp((i-69999\)/1000\)) seconds, so that neighbouring edges are 0.1 % apart.
          type: list
          elements: dict
          returned: with O(mergeable)
          sample:
            - started: 1795432746.25
              completed: 256
              itl: {bins: [[65857, 1250], [65858, 1312]], count: 32512, total: 523.4}
gpu_samples:
  description:
    - C(samples), C(summary) per GPU, C(sample_rate) in Hz and C(synchronisation) of the GPUs of this host from the
      begin of the first step to the end of the last one. C(error) says why it ended early, else it is null.
    - Null where the GPUs were not sampled.
  type: dict
  returned: success
  sample:
    sample_rate: 10.0
    summary: [{index: 0, utilization_gpu: {mean: 96.1, p50: 98.0, max: 100.0}}]
    synchronisation: {spread: 3.2, correlation: 0.94}
    samples: [{time: 0.0, gpus: [{index: 0, utilization_gpu: 97, power_draw: 118.2}]}]
gpu_samples_reason:
  description: Why the GPUs were not sampled, else null.
  type: str
  returned: success
  sample: null
seed:
  description: Seed of the prompts. Null where no load was made.
  type: int
  returned: success
  sample: 2876540121
origin:
  description:
    - Clock of this host, in seconds since 1970, at time 0 of RV(results[].started) and RV(gpu_samples).
    - Null where no load was made.
  type: float
  returned: success
  sample: 1795432744.018
msg:
  description: Says that no load was made.
  type: str
  returned: in check mode
  sample: "check mode: no load was made"
findings:
  description:
    - One answer for each of C(performance.throughput), C(performance.ttft), C(performance.itl),
      C(performance.client_limited) and C(performance.token_reconciliation).
    - C(status) is V(pass), V(warn), V(fail) or V(not_tested), the last with its reason in C(summary).
  type: list
  elements: dict
  returned: success
  sample:
    - check: performance.throughput
      status: pass
      summary: 1,777 tokens/s at 32 streams (512x128@32)
      expected: null
      measured: 1777.2
      unit: tokens/s
      evidence: {}
      cause: null
      remedy: null
      source: null
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.multigpu.vllm.plugins.module_utils.load.probe import ProbeOptions, RealDriver, probe
from ansible_collections.multigpu.vllm.plugins.module_utils.load.progress import PATIENCE, LoadProgress
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import InvalidLoad
from ansible_collections.multigpu.vllm.plugins.module_utils.progress import InvalidProgressPath, published
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import HAS_REQUESTS
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.options import server_options

STEP_OPTIONS = {
    "name": {"type": "str"},
    # Not a secret, whatever the name.
    "prompt_tokens": {"type": "int", "required": True, "no_log": False},
    "output_tokens": {"type": "int", "required": True, "no_log": False},
    "concurrency": {"type": "int", "required": True},
    "rate": {"type": "float"},
    "arrivals": {"type": "str", "choices": ["poisson", "constant"], "default": "poisson"},
    "requests": {"type": "int"},
    "duration": {"type": "float"},
    "optional": {"type": "bool", "default": False},
    "repeats": {"type": "int", "default": 1},
}

DEFAULT_STEPS = [{"prompt_tokens": 512, "output_tokens": 128, "concurrency": 8, "duration": 10.0}]

ARGUMENT_SPEC = server_options(base_url_required=True) | {
    "timeout": {"type": "float", "default": 60.0},
    "model": {"type": "str"},
    "endpoint": {"type": "str", "choices": ["completions", "chat"], "default": "completions"},
    "steps": {"type": "list", "elements": "dict", "options": STEP_OPTIONS, "default": DEFAULT_STEPS},
    "warmup_requests": {"type": "int", "default": 4},
    "drain_timeout": {"type": "float", "default": 5.0},
    "seed": {"type": "int"},
    "reuse_connections": {"type": "bool", "default": True},
    "processes": {"type": "int", "default": 1},
    "share": {
        "type": "dict",
        "options": {"index": {"type": "int", "required": True}, "count": {"type": "int", "required": True}},
    },
    "start_at": {"type": "float"},
    "mergeable": {"type": "bool", "default": False},
    "sample_gpus": {"type": "bool", "default": True},
    "sample_interval": {"type": "float", "default": 0.1},
    "max_ttft": {"type": "float"},
    "max_itl": {"type": "float"},
    "progress_path": {"type": "path"},
    "targets": {"type": "dict", "options": {"ttft": {"type": "float"}, "itl": {"type": "float"}}},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    if not HAS_REQUESTS:
        module.fail_json(msg=missing_required_lib("requests"))
    try:
        options, progress = ProbeOptions.from_params(module.params), LoadProgress()
        with published(module.params["progress_path"], progress.snapshot, PATIENCE):
            result = probe(options, RealDriver(progress), module.check_mode)
    except (InvalidLoad, InvalidProgressPath) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
