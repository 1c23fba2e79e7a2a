#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: output_check
short_description: Test whether a vLLM server computes the right answers
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - A server whose GPUs exchange wrong data, or whose weights are damaged, answers as fast as a healthy one. This module
    sends fixed prompts, records the tokens and the log probabilities of the most likely tokens, and judges them.
  - Without a reference, it finds numbers that are not valid, tokens that are not the most likely ones at temperature 0,
    and a server that answers different prompts in the same way.
  - With the recording of a healthy server of the same model and quantisation, it compares the log probabilities. The
    number of GPUs, the version of vLLM and the number format of the computation may differ.
  - It sends 6 prompts of 64 words, whose tokens the server also scores, and 2 of 700 words if the context length is at
    least 4096 tokens, four at a time. Each answer has 24 tokens. This takes a few seconds. After 60 seconds, no further
    prompt is sent.
  - The server needs 4 bytes of GPU memory for each token of a short prompt and each entry of the vocabulary, which is
    about 100 MB.
extends_documentation_fragment:
  - multigpu.vllm.vllm_server
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action_group
attributes:
  check_mode:
    support: partial
    details: Nothing is sent in check mode.
  diff_mode:
    support: none
    details: The module shows no difference.
  idempotent:
    support: none
    details: Every run asks the server again.
options:
  base_url:
    required: true
  model:
    description: Name of the served model. By default, the first model that the server lists.
    type: str
  seed:
    description: Number from which the prompts are drawn. Recordings with different seeds cannot be compared.
    type: int
    default: 0
  test:
    description:
      - With V(always), the server is asked.
      - With V(auto), it is asked only if it processes no other requests.
    type: str
    choices: [always, auto]
    default: always
  reference:
    description: RV(recording) of a healthy server, for example of the same node with one GPU.
    type: dict
  reference_url:
    description: Root URL of a second server of the same model, whose answers are the reference.
    type: str
requirements:
  - requests
seealso:
  - module: multigpu.vllm.p2p_check
"""

EXAMPLES = r"""
- name: Record the answers of a server that is known to be healthy
  multigpu.vllm.output_check:
    base_url: http://127.0.0.1:8000
  register: healthy

- name: Compare a server on all GPUs with the recording
  multigpu.vllm.output_check:
    base_url: http://127.0.0.1:8000
    reference: "{{ healthy.recording }}"
  register: outputs

- name: Stop if the answers are wrong
  ansible.builtin.assert:
    that: outputs.findings | selectattr('status', 'eq', 'fail') | length == 0
    fail_msg: "{{ outputs.findings | map(attribute='summary') | join('; ') }}"
"""

RETURN = r"""
recording:
  description: Answers of the server, which O(reference) of a later run accepts. Null if it was not asked.
  returned: success
  type: dict
  contains:
    model:
      description: Name or path of the model's files, as the server reports it.
      type: str
      returned: always
      sample: Qwen/Qwen2.5-32B-Instruct-AWQ
    vllm_version:
      description: Version of vLLM, or null if the server does not report it.
      type: str
      returned: success
      sample: 0.32.0
    seed:
      description: O(seed).
      type: int
      returned: always
      sample: 0
    answers:
      description: One entry for each prompt.
      type: list
      elements: dict
      returned: always
      contains:
        prompt:
          description: Name of the prompt.
          type: str
          returned: always
          sample: 64 words, 1
        error:
          description: Reason why the answer is missing. Only present if the request failed.
          type: str
          returned: success
          sample: no response in time
        text:
          description: Generated text.
          type: str
          returned: success
          sample: " of the night and the sea"
        scored:
          description: The tokens of the prompt after the first. Empty for the long prompts, and for servers that do not
            score prompts.
          type: list
          elements: dict
          returned: success
          contains:
            tokens:
              description: ID of the token, and IDs of the most likely tokens at this position.
              type: list
              elements: int
              returned: always
              sample: [1917, 279, 264, 323, 311, 13]
            logprobs:
              description: Their log probabilities in nats, or null if the server sent none.
              type: list
              elements: float
              returned: always
              sample: [-7.1034, -1.9522, -2.0772, -2.5147, -3.0147, -3.2022]
        generated:
          description: The same for the generated tokens.
          type: list
          elements: dict
          returned: success
          contains:
            tokens:
              description: ID of the generated token, and IDs of the most likely tokens.
              type: list
              elements: int
              returned: always
              sample: [315, 323, 13, 11, 304]
            logprobs:
              description: Their log probabilities in nats, or null if the server sent none.
              type: list
              elements: float
              returned: always
              sample: [-0.9311, -1.5561, -2.1186, -2.6811, -2.9311]
comparison:
  description: Comparison of each prompt with the reference, the largest deviation first. Prompts with fewer than
    16 comparable tokens are one entry. Empty without a reference.
  returned: success
  type: list
  elements: dict
  contains:
    prompt:
      description: Name of the prompt.
      type: str
      returned: always
      sample: 64 words, 1
    deviation:
      description: Mean absolute difference of the log probabilities, divided by the mean difference between the most
        likely and the fifth token of the reference. Null if there is too little to compare.
      type: float
      returned: success
      sample: 0.0042
    positions:
      description: Number of compared tokens.
      type: int
      returned: always
      sample: 104
    agreement:
      description: Share of the generated tokens before the first one that is not the same.
      type: float
      returned: success
      sample: 0.75
    divergence:
      description: The first generated token that is not the same, or null.
      type: dict
      returned: success
      contains:
        position:
          description: Number of generated tokens before it.
          type: int
          returned: always
          sample: 18
        tokens:
          description: ID of the token, and of the reference's.
          type: list
          elements: int
          returned: always
          sample: [323, 13]
        margins:
          description: By how many nats each side prefers its token to the other one, or null if it did not list it. Two
            small margins mean that both tokens were nearly as likely.
          type: list
          elements: float
          returned: always
          sample: [0.0113, 0.0021]
deviation:
  description: Largest deviation of any prompt, or null without a comparison.
  returned: success
  type: float
  sample: 0.0042
findings:
  description: Findings for the checks C(output.valid) and C(output.reference).
  returned: success
  type: list
  elements: dict
  sample:
    - check: output.valid
      status: pass
      summary: 8 answers without a wrong number or token
      expected: null
      measured: null
      unit: null
      evidence: {}
      cause: null
      remedy: null
      source: null
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.output.run import ARGUMENT_SPEC, MUTUALLY_EXCLUSIVE, run


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, mutually_exclusive=MUTUALLY_EXCLUSIVE, supports_check_mode=True)
    try:
        result = run(module.params, check_mode=module.check_mode)
    except ValueError as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
