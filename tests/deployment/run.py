# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test role vllm on a real Docker Engine, with an image in which the emulator replaces vLLM.

Needs root and Debian's docker.io, and removes everything at the end. Not tested: the NVIDIA runtime, which a hook that
grants every request replaces, and the start of the real vLLM.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from balancer import Balancer, Load
from node import KEY, ROOT, TOKEN, VERSION, Downtime, Site, check, engine_with_vllm, simulate, wait_until


def first_deployment(site: Site) -> None:
    played = site.play("--check", "--diff")
    check("a first --check --diff changes nothing", played.code == 0 and not site.get("/health"), played.output)
    played = site.play()
    check("deploy serves", played.code == 0 and site.get("/health") == 200, played.output)
    reasoned = "tensor parallel 4 (4 of 4 GPUs, 40" in played.output
    check("  with tensor parallel 4 and the reason", reasoned, played.output)
    played = site.play()
    check("the second run changes nothing", played.code == 0 and played.changed == 0, played.output)


def change(site: Site) -> None:
    before = site.container_id()
    played = site.play("--check", "--diff", vllm_max_num_seqs=64)
    predicted = played.changed > 0 and "max-num-seqs" in played.output
    kept = site.container_id() == before
    check("--check --diff predicts a change and does not make it", predicted and kept, played.output)
    with Downtime(site) as down:
        played = site.play(vllm_max_num_seqs=64)
    after = site.container_id()
    once = played.code == 0 and after != before
    check(f"a changed setting restarts once ({down.seconds:.1f} s not served)", once, played.output)
    played = site.play(vllm_max_num_seqs=64)
    check("  and the next run changes nothing", played.changed == 0 and site.container_id() == after, played.output)


def own_image(site: Site) -> str:
    """Tag the image under another name. Such an image may know more arguments, so only the server refuses one."""
    site.engine.docker("tag", f"vllm/vllm-openai:v{VERSION}", "own/vllm:1")
    return "own/vllm:1"


def mistakes(site: Site) -> None:
    site.play(vllm_max_num_seqs=64)
    before = site.container_id()
    with Downtime(site) as down:
        played = site.play(vllm_max_num_seqs=64, vllm_kv_cache_dtype="fp8_e4m3fn")
    refused = played.code != 0 and "fp8_e4m3" in played.output and played.changed == 0
    refused = refused and site.container_id() == before and down.seconds == 0
    check("a removed setting is refused before the start, without an interruption", refused, played.output)
    played = site.play(vllm_max_num_seqs=64, vllm_bind_address="0.0.0.0")
    refused = played.code != 0 and "vllm_api_key" in played.output
    check("an open server without a key is refused", refused, played.output)
    with Downtime(site) as down:
        played = site.play(vllm_max_num_seqs=64, vllm_extra_args="--no-such-option 1")
    refused = played.code != 0 and "unknown argument in vLLM" in played.output and down.seconds == 0
    check("an argument that the version does not know is refused as well", refused, played.output)
    with Downtime(site) as down:
        played = site.play(vllm_max_num_seqs=64, vllm_extra_args="--no-such-option 1", vllm_image=own_image(site))
    reported = played.code != 0 and "unrecognized arguments: --no-such-option" in played.output
    check("a start that fails names the line of the log", reported, played.output)
    check(f"  and rolls back ({down.seconds:.1f} s not served)", site.get("/health") == 200, played.output)
    played = site.play(vllm_max_num_seqs=64)
    check("  after which the last settings are no change", played.code == 0 and played.changed == 0, played.output)


def secrets(site: Site) -> None:
    played = site.play("-vvv", "--diff", vllm_api_key=KEY, vllm_hf_token=TOKEN)
    check("an API key restarts the server with it", played.code == 0 and site.get("/v1/models") == 401, played.output)
    check("  and the key opens it", site.get("/v1/models", KEY) == 200)
    check("no secret in the output of -vvv --diff", KEY not in played.output and TOKEN not in played.output)
    check("no secret in docker inspect", KEY not in site.inspect() and TOKEN not in site.inspect())
    check("no secret in docker logs", KEY not in site.engine.docker("logs", "vllm"))
    processes = subprocess.run(["ps", "-eo", "args", "-ww"], capture_output=True, text=True, check=True).stdout
    check("no secret in the process list", KEY not in processes and TOKEN not in processes)
    holders = [
        path
        for path in (site.home / "etc").rglob("*")
        if path.is_file() and any(secret in path.read_text("utf-8") for secret in (KEY, TOKEN))
    ]
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in holders}
    check("secrets only in files of mode 0600", modes == {"api_key": "0o600", "hf_token": "0o600"}, str(modes))
    played = site.play(vllm_api_key=KEY, vllm_hf_token=TOKEN)
    check("  and the next run changes nothing", played.code == 0 and played.changed == 0, played.output)


def life(site: Site) -> None:
    site.play(vllm_api_key=KEY)
    played = site.play("--tags", "restart", vllm_api_key=KEY)
    restarted = played.code == 0 and played.changed == 1 and site.get("/health") == 200
    check("--tags restart restarts", restarted, played.output)
    played = site.play(playbook="logs", vllm_logs_part="start", vllm_logs_dir=str(site.home / "logs"))
    log = (site.home / "logs/node.start.log").read_text("utf-8") if played.code == 0 else ""
    check("logs brings the start-up part", log.rstrip().endswith("startup complete."), played.output)
    played = site.play(
        "--tags",
        "hardware,tensor_parallel,memory,nccl,configuration",
        playbook="validate",
        validate_base_url=f"http://127.0.0.1:{site.port}",
        validate_api_key=KEY,
        validate_container="vllm",
        validate_kernel_log=False,
        validate_instance_type=site.scenario.plan,
        validate_environment={"LD_LIBRARY_PATH": str(site.node / "lib")},
        validate_report_dir=str(site.home / "report"),
    )
    check("validate passes what was deployed", played.code == 0, played.output)
    played = site.play("--tags", "stop", vllm_api_key=KEY)
    check("--tags stop stops", played.code == 0 and site.get("/health") == 0, played.output)
    played = site.play("--tags", "stop", vllm_api_key=KEY)
    check("  and the second time changes nothing", played.code == 0 and played.changed == 0, played.output)


def fleet(site: Site) -> None:
    """Change six nodes behind a balancer one after the other, under load."""
    sites = [Site(site.home, site.engine, f"node-{number}", f"vllm-{number}") for number in range(6)]
    with Balancer({each.node.name: each.port for each in sites}) as balancer:
        hosts = {each.node.name: {**each.variables(), **balancer.hooks} for each in sites}
        site.inventory.write_text(json.dumps({"all": {"hosts": hosts}}), "utf-8")
        played = site.play(vllm_max_unavailable="100%")
        served = all(each.get("/health") == 200 for each in sites)
        check("six nodes serve", played.code == 0 and served, played.output)
        balancer.most_drained = 0
        body = {"model": site.scenario.model.id, "prompt": "count", "max_tokens": 16}
        with Load(balancer.url, body, streams=12) as load:
            played = site.play(vllm_max_num_seqs=64, vllm_max_unavailable=1)
        changed = sum('"64"' in each.inspect() for each in sites)
        figures = f"{load.completed} requests, {load.failed} failed, at most {balancer.most_drained} node out"
        rolled = played.code == 0 and changed == 6 and load.failed == 0 and balancer.most_drained == 1
        check(f"a rolling change of six nodes under load: {figures}", rolled and load.completed > 0, played.output)
        others = [each.container_id() for each in sites[1:]]
        bad = {"vllm_extra_args": "--no-such-option", "vllm_image": own_image(site)}
        played = site.play(vllm_max_num_seqs=64, vllm_max_unavailable=1, **bad)
        kept = others == [each.container_id() for each in sites[1:]]
        check("a failing change ends at the first node", played.code != 0 and kept, played.output)
        back = sites[0].get("/health") == 200 and not balancer.drained
        check("  which serves again and is back in the balancer", back, played.output)


@contextlib.contextmanager
def registry(home: Path) -> Iterator[str]:
    """Run Debian's docker-registry on a loopback port, and provide its address."""
    address = f"127.0.0.1:{simulate.free_port()}"
    config = home / "registry.yml"
    storage = {"filesystem": {"rootdirectory": str(home / "registry")}}
    config.write_text(json.dumps({"version": 0.1, "storage": storage, "http": {"addr": address}}), "utf-8")
    command, ignored = ["docker-registry", "serve", str(config)], subprocess.DEVNULL
    with subprocess.Popen(command, stdout=ignored, stderr=ignored) as process:
        try:
            yield address
        finally:
            process.terminate()


def digests(site: Site) -> None:
    """Deploy an image from a registry by its digest."""
    if not shutil.which("docker-registry"):
        sys.stdout.write("skip  digests: apt install docker-registry\n")
        return
    docker = site.engine.docker
    with registry(site.home) as address:
        name = f"{address}/vllm-openai"
        docker("tag", f"vllm/vllm-openai:v{VERSION}", f"{name}:v{VERSION}")
        wait_until(lambda: "digest: " in docker("push", f"{name}:v{VERSION}", check=False), 60)
        digest = json.loads(docker("image", "inspect", f"{name}:v{VERSION}"))[0]["RepoDigests"][0].partition("@")[2]
        docker("rmi", f"{name}:v{VERSION}")
        pinned = f"{name}:v{VERSION}@{digest}"
        played = site.play(vllm_image=pinned.replace(digest, f"sha256:{64 * '0'}"), vllm_pull="not_present")
        check("an image with another digest is not deployed", played.code != 0, played.output)
        played = site.play(vllm_image=pinned, vllm_pull="not_present")
        deployed = json.loads(site.inspect())[0]["Config"]["Image"] == f"{name}@{digest}"
        check("an image is pulled and deployed by its digest", played.code == 0 and deployed, played.output)
        settings = (site.home / "etc" / site.container / "settings.md").read_text("utf-8")
        check("  which the settings show", f"{name}@{digest}" in settings, settings)
        before = site.container_id()
        played = site.play(vllm_image=f"{name}:v{VERSION}", vllm_pull="always")
        same = played.code == 0 and site.container_id() == before
        check("  the same image by its tag is no change", same, played.output)
        # The tag now names an image with another content.
        docker("tag", docker("commit", "--message", "other", site.container).strip(), f"{name}:v{VERSION}")
        docker("push", f"{name}:v{VERSION}")
        played = site.play(vllm_image=pinned, vllm_pull="always")
        same = played.code == 0 and site.container_id() == before
        check("  a tag that is moved does not change what the digest deploys", same, played.output)


def privileges(site: Site, container: str) -> str:
    """Return what a container's main process may do: its capabilities, new privileges and user."""
    pid = json.loads(site.engine.docker("inspect", container))[0]["State"]["Pid"]
    status = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    values = {line.split()[0].rstrip(":"): line.split()[1:] for line in status if line.split()[1:]}
    names = ("CapEff", "CapBnd", "NoNewPrivs", "Uid")
    return ", ".join(f"{name} {values[name][0]}" for name in names)


LIMITED = "CapEff 0000000000000000, CapBnd 0000000000000000, NoNewPrivs 1, Uid {}"


def findings_in(part: object) -> list[dict[str, str]]:
    """Return every finding within a part of the report."""
    if isinstance(part, dict) and "check" in part and "status" in part:
        return [part]
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return [finding for item in inner for finding in findings_in(item)]


def real_vllm(site: Site) -> None:
    """Deploy the real vLLM on CPU with two ranks, in a container with the environment of `make test-vllm`."""
    home = ROOT / f".cache/vllm-{VERSION}"
    if not (home / "complete").exists():
        sys.stdout.write("skip  the real vLLM: make test-vllm installs it\n")
        return
    base = Path(os.readlink(home / "venv/bin/python3.11")).parents[1]
    mounts = ["/usr", "/usr/lib/x86_64-linux-gnu:/lib/x86_64-linux-gnu", str(home), *({str(base)} - {"/usr"})]
    variables = {
        **site.variables(),
        "vllm_container_name": "vllm-real",
        "vllm_model": str(home / "model"),
        "vllm_served_model_name": "small",
        "vllm_gpus": "none",
        "vllm_instance_type": None,
        "vllm_tensor_parallel_size": 2,
        "vllm_max_model_len": 2048,
        "vllm_extra_args": "--distributed-executor-backend mp --enforce-eager",
        "vllm_volumes": [f"{mount if ':' in mount else f'{mount}:{mount}'}:ro" for mount in mounts],
        "vllm_environment": {
            "PATH": f"{home}/venv/bin:/usr/bin:/bin",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "0|1",
        },
        "vllm_api_key": KEY,
        "vllm_start_timeout": 3600,
    }
    site.inventory.write_text(json.dumps({"all": {"hosts": {"real": variables}}}), "utf-8")
    played = site.play()
    serves = played.code == 0 and site.get("/v1/models") == 401 and site.get("/v1/models", KEY) == 200
    check("the real vLLM serves with two ranks and requires the key", serves, played.output)
    stages = [
        line.split("s  ")[1] for line in played.output.splitlines() if line.startswith("real: ") and "s  " in line
    ]
    check(f"  its stages were printed: {'; '.join(stages)}", "loading the weights" in " ".join(stages), played.output)
    log = site.engine.docker("logs", "vllm-real")
    check("  no secret in its log, or in docker inspect", KEY not in log + site.engine.docker("inspect", "vllm-real"))
    may = privileges(site, "vllm-real")
    check(f"  without privileges: {may}", may == LIMITED.format(0))
    played = site.play()
    check("  the second run changes nothing", played.code == 0 and played.changed == 0, played.output)
    played = site.play(vllm_tensor_parallel_size=3)
    check(
        "  a size that its heads forbid is refused",
        played.code != 0 and "does not divide" in played.output,
        played.output,
    )
    played = site.play(
        playbook="validate",
        validate_base_url=f"http://127.0.0.1:{site.port}",
        validate_api_key=KEY,
        validate_container="vllm-real",
        validate_kernel_log=False,
        validate_prompt_tokens=[64],
        validate_output_tokens=16,
        validate_concurrency=2,
        validate_load_duration=5,
        validate_fail_on="never",
        validate_report_dir=str(site.home / "report"),
    )
    report = json.loads((site.home / "report/report.json").read_text("utf-8")) if played.code == 0 else {}
    statuses = {finding["check"]: finding["status"] for finding in findings_in(report.get("hosts"))}
    shown = ("tensor_parallel.size", "tensor_parallel.model_fit", "nccl.errors", "performance.token_reconciliation")
    results = {check_id: statuses.get(check_id) for check_id in shown}
    check(f"  validate: {results}", set(results.values()) <= {"pass", "not_tested"} and bool(report), played.output)


PARTS = (first_deployment, change, mistakes, secrets, life, digests, fleet, real_vllm)


def main() -> None:
    chosen = [part for part in PARTS if part.__name__ in sys.argv[1:]] or PARTS
    with engine_with_vllm("deployment") as (home, engine):
        site = Site(home, engine)
        for part in chosen:
            part(site)


if __name__ == "__main__":
    main()
