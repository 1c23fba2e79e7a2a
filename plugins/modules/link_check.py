#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: link_check
short_description: Measure the network between the nodes that serve one model together
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Measures the link to each other member of a group (the hosts with the same C(vllm_group)), and compares it with
    typical limits. Each host returns what it sends; the other host returns the other direction.
  - For each link, measures the goodput of one and of eight TCP streams, the round trip of small messages, the path MTU,
    lost datagrams, retransmitted segments and the offset of the clocks, and tests whether a random port is reachable.
  - The module must run on all members at the same time. Every member measures with one other member at a time, so half
    of the members measure with the other half. A group of N members takes about (N - 1) x 9 seconds.
  - While a goodput is measured, the network between two members is fully used. This slows down a model that they serve.
  - The node needs only Python. The module listens on the private address while it runs, accepts only members with the
    token of this run, and leaves nothing on the node.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action_group
attributes:
  check_mode:
    support: none
    details: The module is skipped, because it loads the network.
  diff_mode:
    support: none
    details: The module shows no difference.
  idempotent:
    support: none
    details: Every run measures again.
options:
  members:
    description:
      - The members of the group, in the same order on all of them.
      - By default, these are the hosts of the inventory with the same C(vllm_group) as this host. Hosts that are not in
        the current batch of hosts do not take part.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the member in the results.
        type: str
        required: true
      address:
        description: IPv4 address of the member on the private network. By default, it is C(vllm_private_address).
        type: str
      takes_part:
        description: Whether the module runs on this member, too.
        type: bool
        default: true
  name:
    description: Name of this host in O(members). By default, it is the name in the inventory.
    type: str
  token:
    description: Secret by which the members of one run know each other. By default, it is random for each run of
      Ansible.
    type: str
  interface:
    description: Network interface of the private network. By default, it is the one that has this host's address.
    type: str
  port:
    description: TCP port on which each member accepts connections of the others while the module runs.
    type: int
    default: 29511
  start_timeout:
    description: Seconds to wait until the module runs on the other members. Ansible starts it on a few hosts at a time.
    type: float
    default: 60.0
  duration:
    description:
      - Seconds that each of the four measurements of the goodput counts. Half a second before does not count, because
        TCP is still in slow start.
    type: float
    default: 1.0
  limits:
    description: Limits that differ from the typical ones.
    type: dict
    suboptions:
      round_trip:
        description: Median round trip in seconds. The default is 0.0005. Ten times as much fails.
        type: float
      loss:
        description: Fraction of datagrams that may be lost. The default is 0. More than 0.005 fails.
        type: float
      clock_offset:
        description: Difference of two clocks in seconds. The default is 0.05.
        type: float
      goodput:
        description:
          - Network speed of the plan in bytes per second. Less than 80 % of it causes a warning, and less than 50 %
            fails.
          - By default, a link is only compared with the other links of the same host if there are at least three.
        type: float
seealso:
  - module: multigpu.vllm.clock_offset
"""

EXAMPLES = r"""
- name: Measure the links between the hosts of each vllm_group
  multigpu.vllm.link_check:
  register: network

- name: Measure the links between two hosts that should have 10 Gbit/s
  multigpu.vllm.link_check:
    members:
      - {name: gpu-01, address: 10.0.0.2}
      - {name: gpu-02, address: 10.0.0.3}
    limits:
      goodput: 1250000000
  register: network

- name: Show the links that are not good
  ansible.builtin.debug:
    msg: "{{ network.findings | selectattr('status', 'in', ['warn', 'fail']) | map(attribute='summary') }}"
"""

RETURN = r"""
interface:
  description: Network interface of the private network.
  returned: success
  type: str
  sample: eth1
address:
  description: This host's address on the private network.
  returned: success
  type: str
  sample: 10.0.0.2
host_name:
  description: The host's own name.
  returned: success
  type: str
  sample: gpu-01
host_addresses:
  description: Addresses that RV(host_name) resolves to on this host.
  returned: success
  type: list
  elements: str
  sample: [127.0.1.1]
links:
  description: The link to each other member, in the direction from this host. A value is null if it was not measured.
  returned: success
  type: list
  elements: dict
  contains:
    peer:
      description: Name of the other member.
      returned: always
      type: str
      sample: gpu-02
    address:
      description: Address of the other member.
      returned: success
      type: str
      sample: 10.0.0.3
    status:
      description: Worst status of the checks that were tested on this link.
      returned: always
      type: str
      choices: [pass, warn, fail, not_tested]
      sample: pass
    reason:
      description: Why the link was not measured, or null. The other member did not connect (V(absent)), refused the
        connection (V(refused)), did not answer (V(silent)), lost the connection (V(lost)), does not take part
        (V(not_in_run)) or has no address (V(no_address)).
      returned: success
      type: str
      choices: [absent, refused, silent, lost, not_in_run, no_address]
      sample: silent
    error:
      description: Error of the connection, or null.
      returned: success
      type: str
      sample: timed out
    goodput:
      description: Bytes per second that arrive over one TCP stream.
      returned: success
      type: float
      sample: 1170000000.0
    goodput_parallel:
      description: Bytes per second that arrive over eight TCP streams together.
      returned: success
      type: float
      sample: 1176000000.0
    retransmits:
      description: Fraction of the TCP segments that were sent again at full speed; the larger of both measurements.
      returned: success
      type: float
      sample: 0.0001
    round_trip:
      description: Seconds that a message of 64 bytes takes to the other member and back.
      returned: success
      type: dict
      contains:
        p50:
          description: Median.
          returned: always
          type: float
          sample: 0.00021
        p99:
          description: 99th percentile.
          returned: always
          type: float
          sample: 0.00043
    clock_offset:
      description: Seconds by which the other member's clock is ahead of this host's clock.
      returned: success
      type: float
      sample: -0.0012
    mtu:
      description: MTU of this host's interface in bytes.
      returned: success
      type: int
      sample: 1500
    peer_mtu:
      description: MTU of the other member's interface in bytes.
      returned: success
      type: int
      sample: 1500
    path_mtu:
      description: Bytes of the largest IP packet that reaches the other member without being fragmented.
      returned: success
      type: int
      sample: 1500
    loss:
      description: Fraction of 1,000 datagrams that did not arrive. Null also if none arrived.
      returned: success
      type: float
      sample: 0.0
    port_error:
      description: Why a random TCP port of the other member is not reachable, or null.
      returned: success
      type: str
      sample: timed out
findings:
  description: Findings of the checks C(network.*). Each names the worst link.
  returned: success
  type: list
  elements: dict
  sample:
    - check: network.round_trip
      status: pass
      summary: 0.21 ms for a round trip to gpu-02 (p99 0.43 ms)
      expected: at most 0.5 ms
      measured: 0.21
      unit: ms
      evidence: {}
      cause: null
      remedy: null
      source: null
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.link.channel import LinkError
from ansible_collections.multigpu.vllm.plugins.module_utils.link.run import ARGUMENT_SPEC, run


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC)
    try:
        result = run(module.params)
    except LinkError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
