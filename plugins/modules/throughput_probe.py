#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: throughput_probe
short_description: Measure throughput and latency of a vLLM server under load
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Sends streaming requests at one or more load levels, measures throughput and latency, and samples the GPUs of the
    host on which it runs.
  - Prompts are random from their first token on, so that prefix caching does not help. With O(endpoint=completions)
    they are token IDs of exact length. Otherwise they are words, sized once with the server's token count and then
    shuffled for every request. No tokenizer is downloaded.
  - Tokens are counted from the server's C(usage), never from the chunks of the stream, and compared with the server's
    own counter.
  - The module also measures its own load. If the load client limits a step, the step is measured again (see
    O(client_limited_retries)). If the load client still limits it, the step is marked as RV(results[].void).
  - If the server is down, hangs or is not vLLM, the module returns a finding with cause and remedy and does not fail.
    It fails only for invalid options, and always before any load is generated.
options:
  base_url:
    description:
      - Root URL of the vLLM server, as seen from the host on which the module runs, without C(/v1).
      - Proxy settings of the environment are ignored.
    required: true
  timeout:
    description:
      - Maximum time in seconds for opening a connection, for the first token, and between two tokens.
      - If the load exceeds what the server can process at once, requests wait in its queue for their first token.
        Choose a timeout that allows for this wait.
    default: 60.0
  model:
    description:
      - Name of the served model. The default is the first model that the server lists.
    type: str
  endpoint:
    description:
      - API to which the requests are sent. V(completions) applies no chat template and does not need the server's
        tokenizer for every prompt.
    type: str
    choices: [completions, chat]
    default: completions
  steps:
    description:
      - Load steps, run one after another. A step is a closed loop of O(steps[].concurrency) streams, each of which
        sends its next request when its last request has ended; or, with O(steps[].rate), an open loop.
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
        description: Name of the step in the result. The default contains the token counts and the concurrency or rate,
          such as V(512x128@8) or V(512x128@2.5/s).
        type: str
      prompt_tokens:
        description: Length of every prompt in tokens.
        type: int
        required: true
      output_tokens:
        description: Length of every response in tokens.
        type: int
        required: true
      concurrency:
        description: Number of concurrent requests; with O(steps[].rate), the maximum number.
        type: int
        required: true
      rate:
        description:
          - Request rate in requests per second (open loop). Requests are sent on schedule even if the server is slow.
          - A request that is due while O(steps[].concurrency) others are running waits until one of them ends, and is
            counted in RV(results[].held).
        type: float
      arrivals:
        description:
          - Distribution of the intervals between requests with O(steps[].rate). V(poisson) simulates many independent
            users, and V(constant) sends requests at constant intervals.
        type: str
        choices: [poisson, constant]
        default: poisson
      requests:
        description: End the step after this many requests.
        type: int
      duration:
        description:
          - End the step after this many seconds.
          - Running requests then have up to O(drain_timeout) more seconds, which do not count towards the throughput.
        type: float
      optional:
        description: Skip the step if it exceeds the server's context length, instead of failing.
        type: bool
        default: false
      repeats:
        description: Number of times to run the step. Latencies of all repeats are pooled.
        type: int
        default: 1
  client_limited_retries:
    description:
      - Maximum number of times to measure a step again if the load client limited the step because the client lacked
        processor time, ran late or had unread data. V(0) disables this.
      - Only the last attempt counts. RV(results[].attempts) is the number of attempts and RV(results[].discarded) has
        the reasons for the others. An attempt repeats the whole step, so a step can take up to C(client_limited_retries
        + 1) times as long. GPU samples include all attempts.
      - Steps that several load hosts run together (O(share)) and steps with a fixed start (O(start_at)) are never
        measured again. The same applies to a step that ended early because its requests failed.
    type: int
    default: 2
  warmup_requests:
    description:
      - Number of warm-up requests before the first step. These requests are not measured. They run at the same time, as
        far as a step also has that many streams.
      - If none of these requests completes, no load is generated.
    type: int
    default: 4
  drain_timeout:
    description:
      - Maximum time in seconds for running requests to complete after the end of a step with O(steps[].duration).
      - Requests still running after that are cancelled and counted as C(cancelled) in RV(results[].requests).
    type: float
    default: 5.0
  seed:
    description:
      - Seed of the random prompts. By default, every run sends different prompts.
      - Runs with the same seed send the same prompts, and a server that has not restarted can answer them faster from
        its prefix cache; see RV(results[].prefix_cache_hits).
    type: int
  reuse_connections:
    description:
      - Whether a stream keeps its connection for its next request. With V(false) each request opens a new connection;
        the time that this takes is not part of the time to first token.
    type: bool
    default: true
  processes:
    description:
      - Number of processes that generate the load, each with its share of the streams, the requests and the rate.
      - One process can handle about 1,000 streams or 40,000 tokens per second. Use more if
        C(performance.client_limited) recommends it and this host has free processor cores.
    type: int
    default: 1
  share:
    description:
      - Run only a part of every step, in a load test that several load hosts run together. Set the same O(steps)
        on all of them, and a different O(share.index) on each.
      - A shared step must not follow a step with O(steps[].requests), because its start time would be unknown.
    type: dict
    suboptions:
      index:
        description: Index of this load host, starting at 0. The host with the index O(share.count) only samples the
          GPUs.
        type: int
        required: true
      count:
        description: Number of load hosts.
        type: int
        required: true
  start_at:
    description:
      - Start time of the first step in seconds since 1970, on the clock of this host, so that several load hosts start
        together. The prompts are sized and the server is warmed up before this time.
      - Steps that follow a step with O(steps[].duration) then have a fixed start time too.
      - A step whose start time has passed starts immediately.
    type: float
  mergeable:
    description:
      - Whether to return RV(results[].mergeable), which the P(multigpu.vllm.merge_loads#filter) filter needs to merge
        the results of several load hosts.
    type: bool
    default: false
  sample_gpus:
    description: Whether to sample the GPUs of this host during the load test.
    type: bool
    default: true
  sample_interval:
    description: Interval in seconds between two samples of the GPUs, at least 0.05.
    type: float
    default: 0.1
  max_ttft:
    description: Maximum 95th percentile of the time to first token in seconds. Used by the C(performance.ttft) check.
    type: float
  max_itl:
    description: Maximum 95th percentile of the inter-token latency in seconds. Used by the C(performance.itl) check.
    type: float
  max_duration:
    description:
      - Maximum duration of the whole load test in seconds, including the preparation of the prompts and the warm-up.
      - The test then ends. A step that has not ended by then is returned as skipped, with the reason. If no step has
        ended, the findings are V(not_tested).
      - Without this option, the test ends after its steps. A request fails after O(timeout) plus 1/32 of O(timeout) for
        each requested token, even if tokens still arrive.
    type: float
  targets:
    description:
      - Latency targets for each request. They determine RV(results[].within_targets) and RV(results[].goodput), and do
        not affect the findings.
    type: dict
    suboptions:
      ttft:
        description: Maximum time to first token of a request in seconds.
        type: float
      itl:
        description: Maximum mean inter-token latency of a request in seconds, which is its TPOT.
        type: float
  progress_path:
    description:
      - File on this host in which the module publishes its progress as one JSON object while it runs. The file is
        removed at the end.
      - In a playbook, the default is a unique name in C(/tmp). The callback plugin P(multigpu.vllm.concise#callback)
        shows the progress. The load test ends a minute after the controller has stopped reading the file.
    type: path
extends_documentation_fragment:
  - multigpu.vllm.vllm_server
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action
  - multigpu.vllm.attributes.action_group_vllm
attributes:
  check_mode:
    support: full
    details: In check mode no request is sent, and every finding is C(not_tested).
  diff_mode:
    support: none
    details: This module changes nothing, so there is no difference to show.
  idempotent:
    support: full
    details: The load changes nothing on the server, but the measured values differ from run to run.
requirements:
  - Python library C(requests)
  - Python library C(nvidia-ml-py), or C(nvidia-smi), to sample the GPUs
notes:
  - TTFT (time to first token) is the arrival of the first token (content, reasoning or tool call, not the message that
    only opens a chat response) minus the time the request was written to the socket. E2E (end-to-end latency) is
    measured in the same way, up to the last token.
  - In an open loop, TTFT and E2E are measured from the time at which the request was due, even if it was sent later
    because no stream was free or the load client was late. Measuring from the time of sending would leave out exactly
    the waits that a slow server causes (coordinated omission). For comparison, RV(results[].ttft_sent) is measured from
    the time of sending.
  - TPOT (time per output token) is (E2E - TTFT) / (n - 1) for a response of n tokens, one value per request.
  - ITL (inter-token latency) is the gap between two arrivals divided by the number of tokens in the second one, one
    value per token.
  - Latencies include completed requests only. A response that is shorter than requested counts as failed
    (C(cut_short)), unless RV(server.engine) is set, because other engines may not support C(ignore_eos).
  - A step ends early after as many consecutive failures as it has streams (at least three). If none of its requests
    completed, the steps after it are skipped.
seealso:
  - module: multigpu.vllm.gpu_facts
  - module: multigpu.vllm.vllm_tp_check
"""

EXAMPLES = r"""
- name: Run a load test of ten seconds on the server of this node
  multigpu.vllm.throughput_probe:
    base_url: http://127.0.0.1:8000
  register: probe

- name: Show the throughput
  ansible.builtin.debug:
    msg: "{{ first.output_throughput | round }} tokens/s, first token after {{ (first.ttft.p50 * 1000) | round }} ms"
  vars:
    first: "{{ probe.results | first }}"
  when: probe.results | length > 0 and probe.results[0].output_throughput is not none

- name: Measure several load levels, and a long prompt if it fits into the context
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

- name: Fail if requests failed or the first token is too late
  ansible.builtin.assert:
    that: failures | length == 0
    fail_msg: "{{ failures | map(attribute='summary') | join('; ') }}"
  vars:
    failures: "{{ probe.findings | selectattr('status', 'equalto', 'fail') }}"

- name: Measure the chat endpoint with three repeats
  multigpu.vllm.throughput_probe:
    base_url: http://127.0.0.1:8000
    endpoint: chat
    steps:
      - {prompt_tokens: 256, output_tokens: 64, concurrency: 16, requests: 64, repeats: 3}
    sample_gpus: false
  register: chat

- name: Show the variation between the repeats
  ansible.builtin.debug:
    msg: "Throughput varies by {{ (chat.results[0].variation * 100) | round(1) }} % between the repeats"

- name: Send 2.5 requests per second, as independent users do
  multigpu.vllm.throughput_probe:
    base_url: http://127.0.0.1:8000
    steps:
      - {prompt_tokens: 512, output_tokens: 128, concurrency: 256, rate: 2.5, duration: 60}
  register: users

- name: Fail if requests have to wait
  ansible.builtin.assert:
    that: users.results[0].held == 0 and users.results[0].ttft.p99 < 1
"""

RETURN = r"""
server:
  description: The server that was measured. Values are null if the server does not report them.
  type: dict
  returned: success
  contains:
    engine:
      description: Name of the engine if the server is known not to be vLLM, for example V(SGLang).
      type: str
      returned: success
      sample: null
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
      description: Maximum context length (prompt and output together) in tokens.
      type: int
      returned: success
      sample: 8192
results:
  description: One entry for each step, in order. Values that could not be measured are null.
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
      description: Mean prompt length according to the server's usage.
      type: int
      returned: success
      sample: 512
    output_tokens:
      description: Mean length of a completed response according to the server's usage.
      type: int
      returned: success
      sample: 128
    requested:
      description: The requested C(prompt_tokens) and C(output_tokens).
      type: dict
      returned: success
      sample: {prompt_tokens: 512, output_tokens: 128}
    concurrency:
      description: Number of streams.
      type: int
      returned: success
      sample: 32
    rate:
      description: Requested rate of an open loop in requests per second. Null in a closed loop.
      type: float
      returned: success
      sample: null
    arrivals:
      description: Distribution of the requests of an open loop. Null in a closed loop.
      type: str
      returned: success
      sample: null
    skipped:
      description: Reason why the step was not run, else null.
      type: str
      returned: success
      sample: null
    requests:
      description: Number of requests that C(completed), C(failed), or were C(cancelled) at the end of the step.
      type: dict
      returned: success
      sample: {completed: 256, failed: 0, cancelled: 0}
    failures:
      description: Number of failed requests by reason.
      type: dict
      elements: int
      returned: success
      sample: {first_byte_timeout: 2}
    failure_details:
      description: For each reason, the first message from the server or the operating system.
      type: dict
      elements: str
      returned: success
      sample: {first_byte_timeout: no token for 60 s}
    held:
      description:
        - Number of requests of an open loop that had to wait when they were due, because O(steps[].concurrency) others
          were running. Null in a closed loop.
      type: int
      returned: success
      sample: null
    unsent:
      description: Number of requests that were due but not sent before the step ended. Null in a closed loop.
      type: int
      returned: success
      sample: null
    schedule_lag:
      description:
        - Lateness of the requests of an open loop in seconds, as C(mean), C(p50), C(p95), C(p99). Requests are late if
          no stream is free, a connection must be opened, or the load client is busy. Null in a closed loop.
      type: dict
      elements: float
      returned: success
      sample: null
    gave_up:
      description: Reason for the failures that ended the step early, else null.
      type: str
      returned: success
      sample: null
    tokens:
      description: Output tokens of all requests according to the server's usage, including failed and cancelled
        requests.
      type: int
      returned: success
      sample: 32768
    started:
      description: Start of the step in seconds since the start of the load test, on the clock of RV(gpu_samples).
      type: float
      returned: success
      sample: 0.002
    ended:
      description: Time at which the last token arrived or the duration ended, on the same clock.
      type: float
      returned: success
      sample: 18.44
    duration:
      description: Measured time in seconds, summed over repeats.
      type: float
      returned: success
      sample: 18.438
    output_throughput:
      description:
        - Output tokens per second over the whole step.
        - With C(requests), the tokens of completed requests divided by the time from the first request to the last
          token. With C(duration), the tokens that arrived within the duration divided by the duration.
      type: float
      returned: success
      sample: 1777.2
    tokens_per_arrival:
      description:
        - Mean number of tokens that arrived together, over the completed requests. It is high if a proxy buffers the
          stream or C(--stream-interval) is set; the time of the first token is then unknown.
      type: float
      returned: success
      sample: 1.02
    steady_throughput:
      description:
        - Output tokens per second while all streams were active, from the first token of the last stream to start until
          the first stream ran out of requests.
        - Null if this period was shorter than one second.
      type: float
      returned: success
      sample: 1812.5
    request_throughput:
      description: Completed requests per second.
      type: float
      returned: success
      sample: 13.9
    within_targets:
      description: Number of completed requests that met all O(targets). Null without targets.
      type: int
      returned: success
      sample: 251
    goodput:
      description: Requests per second that met all O(targets) and completed within the O(steps[].duration).
      type: float
      returned: success
      sample: 13.6
    ttft:
      description: Time to first token in seconds, as C(mean), C(p50), C(p95), C(p99).
      type: dict
      elements: float
      returned: success
      sample: {mean: 0.212, p50: 0.201, p95: 0.333, p99: 0.351}
    ttft_sent:
      description: Time to first token in an open loop, measured from the time of sending. Null in a closed loop.
      type: dict
      elements: float
      returned: success
      sample: null
    itl:
      description: Inter-token latency in seconds, with the same statistics as C(ttft).
      type: dict
      elements: float
      returned: success
      sample: {mean: 0.0161, p50: 0.0158, p95: 0.0181, p99: 0.0233}
    tpot:
      description: Time per output token in seconds, with the same statistics as C(ttft).
      type: dict
      elements: float
      returned: success
      sample: {mean: 0.0161, p50: 0.0161, p95: 0.0168, p99: 0.017}
    e2e:
      description: Time to the last token in seconds, with the same statistics as C(ttft).
      type: dict
      elements: float
      returned: success
      sample: {mean: 2.26, p50: 2.25, p95: 2.41, p99: 2.44}
    token_ratio:
      description: Tokens counted by the server divided by tokens counted by the client.
      type: float
      returned: success
      sample: 1.0
    token_ratio_reason:
      description: Reason why the ratio is unknown, else null.
      type: str
      returned: success
      sample: null
    shared:
      description: Whether the server's counters show that other clients used the server during the step.
      type: bool
      returned: success
      sample: false
    prefix_cache_hits:
      description: Fraction of the prompt tokens found in the prefix cache, from 0 to 1.
      type: float
      returned: success
      sample: 0.0
    preemptions:
      description:
        - Number of requests that the server preempted during the step because its KV cache was full, from
          C(vllm:num_preemptions_total). Includes those of other clients.
      type: int
      returned: success
      sample: 0
    corrupted_requests:
      description:
        - Number of requests of the step with NaN in their logits, from C(vllm:corrupted_requests_total). Null if the
          server does not count them (E(VLLM_COMPUTE_NANS_IN_LOGITS)).
      type: int
      returned: success
      sample: null
    speculation:
      description: Results of speculative decoding, from C(vllm:spec_decode_*). Null if the server does not count them.
      type: dict
      returned: success
      sample: null
      contains:
        drafts:
          description: Number of times that tokens were drafted for a request.
          type: int
          returned: always
          sample: 512
        acceptance_rate:
          description: Fraction of the drafted tokens that the model accepted. Null without a draft.
          type: float
          returned: success
          sample: 0.62
        mean_acceptance_length:
          description: Mean number of tokens per draft, including the one that the model adds. Null without a draft.
          type: float
          returned: success
          sample: 2.86
    queue:
      description:
        - Longest queue of the server during the step, read from its metrics every two seconds. Includes the requests of
          other clients. Null if it was not read, for example because the step was shorter.
      type: dict
      returned: success
      contains:
        running:
          description: Maximum number of requests that were processed at once.
          type: int
          returned: always
          sample: 8
        waiting:
          description: Maximum number of requests that waited.
          type: int
          returned: always
          sample: 24
        reasons:
          description:
            - Maximum number of waiting requests by vLLM's reason. C(capacity) is the scheduler's capacity
              (C(--max-num-seqs), the KV cache), and C(deferred) a temporary constraint, for example too many LoRA
              adapters at once. Empty if the version of vLLM has no reasons.
          type: dict
          elements: int
          returned: always
          sample: {capacity: 24, deferred: 0}
        readings:
          description: Number of readings.
          type: int
          returned: always
          sample: 5
    client:
      description:
        - Measurements of the load client. C(cpu) is the processor time of all its C(processes) in cores. C(lag_p99) is
          the lateness of the event loop in seconds (99th percentile), in the process in which it is largest. C(backlog)
          is the number of unread bytes per stream (mean over streams, 99th percentile over time). C(free_cores) is the
          number of idle processor cores of this host. C(limited) is whether the load client limited the step, and
          C(reason) is why. C(apart) is true if several load hosts did not start the step together.
      type: dict
      returned: success
      sample:
        cpu: 0.21
        lag_p99: 0.0013
        backlog: 24.5
        processes: 1
        free_cores: 11.2
        limited: true
        reason: the load client was up to 62 ms late (p99), more than 50 ms
        apart: false
    void:
      description: Whether the load client limited the step, so that the measured values do not describe the server.
      type: bool
      returned: success
      sample: false
    attempts:
      description:
        - Number of times the step was measured; see O(client_limited_retries). All values are those of the last
          attempt. V(0) if the step was skipped.
      type: int
      returned: success
      sample: 2
    discarded:
      description: For each discarded attempt, how the load client limited it.
      type: list
      elements: str
      returned: success
      sample: ["the load client was up to 62 ms late (p99), more than 50 ms"]
    repeats:
      description: Number of repeats that were run.
      type: int
      returned: success
      sample: 1
    variation:
      description:
        - Coefficient of variation (standard deviation divided by mean) of the throughput over the repeats.
        - For a single repeat, over the whole seconds while all streams were active; null if there are fewer than three.
      type: float
      returned: success
      sample: 0.012
    load_hosts:
      description: Share of each load host in the step.
      type: list
      elements: dict
      returned: by the filter P(multigpu.vllm.merge_loads#filter)
      contains:
        host:
          description: Name of the load host.
          type: str
          returned: always
          sample: load-1
        concurrency:
          description: Number of its streams.
          type: int
          returned: always
          sample: 16
        completed:
          description: Number of its completed requests.
          type: int
          returned: always
          sample: 128
        tokens:
          description: Number of its output tokens.
          type: int
          returned: always
          sample: 16384
    timeline:
      description: Output tokens that arrived in each second, on the clock of C(started).
      type: list
      elements: dict
      returned: success
      sample: [{time: 0.002, tokens: 1604}, {time: 1.002, tokens: 1811}]
    mergeable:
      description:
        - The step with its full distributions, which can be merged with the results of other load hosts. Null
          without O(mergeable).
        - Times are in seconds since 1970 on the clock of this host.
      type: dict
      returned: success
      sample: null
      contains:
        step:
          description: The whole step, of which this host ran O(share).
          type: dict
          elements: raw
          returned: with O(mergeable)
          sample: {name: 512x128@32, prompt_tokens: 512, output_tokens: 128, concurrency: 32, duration: 30.0}
        counters:
          description: The server's counters C(before) and C(after) the step, or the reason why they are unknown.
          type: dict
          elements: raw
          returned: with O(mergeable)
          sample: {before: {generation_tokens: 512.0}, after: {generation_tokens: 33280.0}}
        outcomes:
          description:
            - One entry for each repeat, with counts, C(failures), the C(timeline) in bins of 10 ms, and the
              distributions of C(ttft), C(ttft_sent), C(itl), C(tpot), C(e2e) and C(schedule_lag).
            - A distribution has C(bins), C(count), and C(total), the sum of all values in seconds. Each of C(bins) is a
              pair of its number and its number of values. Bin C(i) has the values from V(exp((i-70000\)/1000\)) to
              V(exp((i-69999\)/1000\)) seconds, so neighbouring bounds are 0.1 % apart.
          type: list
          elements: raw
          returned: with O(mergeable)
          sample:
            - started: 1795432746.25
              completed: 256
              itl: {bins: [[65857, 1250], [65858, 1312]], count: 32512, total: 523.4}
gpu_samples:
  description:
    - The GPUs of this host, from the start of the first step to the end of the last one. The units are those of
      M(multigpu.vllm.gpu_monitor).
    - Null if the GPUs were not sampled.
  type: dict
  returned: success
  contains:
    samples:
      description:
        - The samples in order. Values that a GPU does not report are null.
      returned: success
      type: list
      elements: dict
      contains:
        time:
          description: Seconds since the start.
          returned: always
          type: float
          sample: 0.0004
        gpus:
          description: Values of each GPU.
          returned: always
          type: list
          elements: dict
          contains:
            index:
              description: Index of the GPU, as in C(nvidia-smi).
              returned: always
              type: int
              sample: 0
            utilization_gpu:
              description: Percentage of the last sample period in which a kernel ran.
              returned: success
              type: float
              sample: 97
            utilization_memory:
              description: Percentage of the last sample period in which memory was read or written.
              returned: success
              type: float
              sample: 61
            memory_used:
              description: Memory in use.
              returned: success
              type: int
              sample: 18253611008
            power_draw:
              description: Power draw.
              returned: success
              type: float
              sample: 118.2
            temperature:
              description: Temperature.
              returned: success
              type: float
              sample: 64
            clocks:
              description: Clocks of the multiprocessors and of the memory.
              returned: success
              type: dict
              sample: {sm: 2175, memory: 9001}
            pcie:
              description: PCIe generation and number of lanes in use.
              returned: success
              type: dict
              sample: {generation: 4, width: 16}
            throttle_reasons:
              description: Reasons why the clocks are lower than possible.
              returned: success
              type: list
              elements: str
              sample: [sw_power_cap]
    summary:
      description: Mean, median and maximum for each GPU.
      type: list
      elements: dict
      returned: success
      sample:
        - index: 0
          utilization_gpu: {mean: 96.1, p50: 98.0, max: 100.0}
          memory_used: {mean: 18253611008.0, p50: 18253611008.0, max: 18253611008}
          power_draw: {mean: 117.0, p50: 118.0, max: 121.3}
          temperature: {mean: 63.2, p50: 64.0, max: 65.0}
          clocks_sm: {mean: 2160.0, p50: 2175.0, max: 2175.0}
    sample_rate:
      description: Samples per second.
      type: float
      returned: success
      sample: 10.0
    synchronisation:
      description: Measures of how evenly the GPUs were utilised.
      type: dict
      returned: success
      sample: {spread: 3.2, correlation: 0.94, busy_fraction: [1.0, 1.0], memory_active: [71.0, 70.8]}
    error:
      description: Reason if sampling ended early, else null.
      type: str
      returned: success
      sample: null
gpu_samples_reason:
  description: Reason why the GPUs were not sampled, else null.
  type: str
  returned: success
  sample: null
seed:
  description: Seed of the prompts. Null if no load was generated.
  type: int
  returned: success
  sample: 2876540121
origin:
  description:
    - Time 0 of RV(results[].started) and RV(gpu_samples), in seconds since 1970 on the clock of this host.
    - Null if no load was generated.
  type: float
  returned: success
  sample: 1795432744.018
msg:
  description: States that no load was generated.
  type: str
  returned: in check mode
  sample: "check mode: no load was generated"
findings:
  description:
    - One finding for each of C(performance.throughput), C(performance.ttft), C(performance.itl),
      C(performance.client_limited) and C(performance.token_reconciliation).
    - C(status) is V(pass), V(warn), V(fail) or V(not_tested). For V(not_tested), C(summary) contains the reason.
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

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.load.probe import ProbeDriver, ProbeOptions, probe
from ansible_collections.multigpu.vllm.plugins.module_utils.load.progress import LoadProgress
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import InvalidLoad
from ansible_collections.multigpu.vllm.plugins.module_utils.progress import InvalidProgressPath, published
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.options import server_options

STEP_OPTIONS = {
    "name": {"type": "str"},
    # Ansible warns about option names that contain the word "token", unless no_log is set explicitly.
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
    "client_limited_retries": {"type": "int", "default": 2},
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
    "max_duration": {"type": "float"},
    "progress_path": {"type": "path"},
    "targets": {"type": "dict", "options": {"ttft": {"type": "float"}, "itl": {"type": "float"}}},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        options, progress = ProbeOptions.from_params(module.params), LoadProgress()
        with published(module.params["progress_path"], progress.snapshot):
            result = probe(options, ProbeDriver(progress), module.check_mode)
    except (InvalidLoad, InvalidProgressPath) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
