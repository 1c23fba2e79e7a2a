# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test memory access and all-reduce between GPUs: ``python3 program.py CONFIGURATION``, with one process for each GPU.

The program needs the GPU driver, NCCL and the standard library only, so it also runs in a container image of vLLM.
``CONFIGURATION`` is JSON with the fields of ``Configuration``. Every result is printed as one line of JSON as soon as
it exists, so the results before a hang are kept.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import itertools
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import typing as t
from array import array
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait

#: The GPU reads and writes words of this many bytes.
WORD: t.Final = 4
#: Words after which the test data repeats. A prime, so a copy that is shifted by a power of two differs.
PERIOD: t.Final = 65521
#: Granularity in bytes in which wrong data is counted.
PAGE: t.Final = 4096
#: Content of a buffer before each test, so data from an earlier test cannot pass for the result.
BLANK: t.Final = 0xA5
#: Bytes that the load copies within the memory of a GPU, again and again.
LOAD: t.Final = 128 << 20
#: Seconds that the start of a process and of a communicator may take.
START: t.Final = 60.0
#: Seconds in which the other ranks must answer after one has answered with an error.
AFTER_ERROR: t.Final = 2.0
#: Option of Linux's prctl: the signal for this process when its parent ends.
PR_SET_PDEATHSIG: t.Final = 1

#: A copy by the threads of a kernel, as vLLM's custom all-reduce and NCCL access the memory of another GPU. PTX is
#: compiled by the driver.
KERNEL: t.Final = b"""
.version 6.3
.target sm_75
.address_size 64
.visible .entry copy(.param .u64 to, .param .u64 from, .param .u64 words)
{
    .reg .pred %last;
    .reg .b32 %block, %threads, %thread, %index, %blocks, %stride, %value;
    .reg .b64 %to, %from, %words, %word, %step, %offset, %source, %target;
    ld.param.u64 %to, [to];
    ld.param.u64 %from, [from];
    ld.param.u64 %words, [words];
    cvta.to.global.u64 %to, %to;
    cvta.to.global.u64 %from, %from;
    mov.u32 %block, %ctaid.x;
    mov.u32 %threads, %ntid.x;
    mov.u32 %thread, %tid.x;
    mad.lo.u32 %index, %block, %threads, %thread;
    mov.u32 %blocks, %nctaid.x;
    mul.lo.u32 %stride, %blocks, %threads;
    cvt.u64.u32 %word, %index;
    cvt.u64.u32 %step, %stride;
NEXT:
    setp.ge.u64 %last, %word, %words;
    @%last bra END;
    shl.b64 %offset, %word, 2;
    add.u64 %source, %from, %offset;
    add.u64 %target, %to, %offset;
    ld.global.u32 %value, [%source];
    st.global.u32 [%target], %value;
    add.u64 %word, %word, %step;
    bra NEXT;
END:
    ret;
}
"""
#: Blocks and threads per block of the kernel.
GRID: t.Final = (256, 512)

Answer = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Configuration:
    """What to test.

    :param gpus: indexes of the GPUs in the order of their PCI addresses.
    :param arms: name of each NCCL setting -> its environment variables.
    :param sizes: bytes of the messages.
    :param copies: whether to test copies and writes between each ordered pair of GPUs.
    :param pairs: whether to test all-reduce over each pair of GPUs; over all GPUs it is always tested.
    :param repeats: all-reduces of each size whose duration is measured.
    :param under_load: whether all-reduce is tested once more while each GPU copies within its memory.
    :param deadline: seconds after which one operation counts as hanging.
    :param library: path of NCCL; by default that of the Python package, then that of the system.
    """

    gpus: Sequence[int]
    arms: t.Mapping[str, t.Mapping[str, str]]
    sizes: Sequence[int] = (4, 1 << 10, 1 << 16, 1 << 20, 1 << 26)
    copies: bool = True
    pairs: bool = True
    repeats: int = 20
    under_load: bool = True
    deadline: float = 8.0
    library: str | None = None


class CudaError(Exception):
    """A call of the GPU driver or of NCCL failed; the message names the call and the error."""


class Handle(ctypes.Structure):
    """``CUipcMemHandle``: memory of another process."""

    _fields_ = (("reserved", ctypes.c_char * 64),)


class UniqueId(ctypes.Structure):
    """``ncclUniqueId``: what the processes of a communicator share."""

    _fields_ = (("internal", ctypes.c_char * 128),)


class Driver:
    """The CUDA driver with the primary context of one GPU. Each method raises ``CudaError`` if a call fails."""

    def __init__(self, index: int) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", 0)
        self.device = self.device_of(index)
        self.context = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), self.device)
        self.use()
        self.stream = self.new_stream()
        self._kernel = ctypes.c_void_p()

    def call(self, name: str, *arguments: t.Any) -> None:
        code = getattr(self.library, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self.library.cuGetErrorName(code, ctypes.byref(text))
            raise CudaError(f"{name}: {(text.value or b'error').decode()} ({code})")

    def device_of(self, index: int) -> ctypes.c_int:
        device = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(device), index)
        return device

    def use(self) -> None:
        """Make the GPU the current one of this thread."""
        self.call("cuCtxSetCurrent", self.context)

    def new_stream(self) -> ctypes.c_void_p:
        stream = ctypes.c_void_p()
        self.call("cuStreamCreate", ctypes.byref(stream), 1)
        return stream

    def allocate(self, size: int) -> int:
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address.value

    def put(self, address: int, data: bytes) -> None:
        self.call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), data, ctypes.c_size_t(len(data)))
        # The call returns when the data has left the host's memory. Without this, a copy to the other GPU can start
        # before it has arrived (CUDA driver API, "API synchronization behavior").
        self.call("cuCtxSynchronize")

    def get(self, address: int, size: int) -> bytes:
        data = ctypes.create_string_buffer(size)
        self.call("cuMemcpyDtoH_v2", data, ctypes.c_uint64(address), ctypes.c_size_t(size))
        return data.raw

    def fill(self, address: int, size: int, byte: int = BLANK) -> None:
        self.call("cuMemsetD8_v2", ctypes.c_uint64(address), ctypes.c_ubyte(byte), ctypes.c_size_t(size))
        self.call("cuCtxSynchronize")

    def copy(self, to: int, source: int, size: int, stream: ctypes.c_void_p | None = None) -> None:
        """Start a copy by a copy engine."""
        addresses = ctypes.c_uint64(to), ctypes.c_uint64(source)
        self.call("cuMemcpyDtoDAsync_v2", *addresses, ctypes.c_size_t(size), stream or self.stream)

    def write(self, to: int, source: int, size: int) -> None:
        """Start a copy by a kernel."""
        if not self._kernel:
            module = ctypes.c_void_p()
            self.call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(KERNEL))
            self.call("cuModuleGetFunction", ctypes.byref(self._kernel), module, b"copy")
        values = [ctypes.c_uint64(value) for value in (to, source, size // WORD)]
        pointers = (ctypes.c_void_p * 3)(*(ctypes.addressof(value) for value in values))
        self.call("cuLaunchKernel", self._kernel, GRID[0], 1, 1, GRID[1], 1, 1, 0, self.stream, pointers, None)

    def wait(self, stream: ctypes.c_void_p | None = None) -> None:
        self.call("cuStreamSynchronize", stream or self.stream)

    def handle(self, address: int) -> bytes:
        handle = Handle()
        self.call("cuIpcGetMemHandle", ctypes.byref(handle), ctypes.c_uint64(address))
        return bytes(handle)

    def open(self, handle: bytes) -> int:
        """Return the address of the memory of another process."""
        address = ctypes.c_uint64()
        self.call("cuIpcOpenMemHandle_v2", ctypes.byref(address), Handle.from_buffer_copy(handle), 1)
        return address.value

    def can_access(self, other: int) -> bool:
        """Return whether the driver offers access to the memory of another GPU."""
        answer = ctypes.c_int()
        self.call("cuDeviceCanAccessPeer", ctypes.byref(answer), self.device, self.device_of(other))
        return bool(answer.value)


class Nccl:
    """The functions of NCCL that an all-reduce of integers needs."""

    def __init__(self, path: str | None) -> None:
        self.library = ctypes.CDLL(path or find_nccl())
        self.library.ncclGetErrorString.restype = ctypes.c_char_p

    def call(self, name: str, *arguments: t.Any) -> None:
        code = getattr(self.library, name)(*arguments)
        if code:
            raise CudaError(f"{name}: {self.library.ncclGetErrorString(code).decode()}")

    def version(self) -> str:
        version = ctypes.c_int()
        self.call("ncclGetVersion", ctypes.byref(version))
        major, rest = divmod(version.value, 10000)
        return f"{major}.{rest // 100}.{rest % 100}"

    def unique_id(self) -> bytes:
        identifier = UniqueId()
        self.call("ncclGetUniqueId", ctypes.byref(identifier))
        return bytes(identifier)

    def join(self, identifier: bytes, ranks: int, rank: int) -> ctypes.c_void_p:
        communicator = ctypes.c_void_p()
        self.call("ncclCommInitRank", ctypes.byref(communicator), ranks, UniqueId.from_buffer_copy(identifier), rank)
        return communicator

    def all_reduce(
        self, source: int, to: int, size: int, communicator: ctypes.c_void_p, stream: ctypes.c_void_p
    ) -> None:
        """Start an all-reduce: the sum of 32-bit integers (ncclInt32 = 2, ncclSum = 0)."""
        buffers = ctypes.c_void_p(source), ctypes.c_void_p(to)
        self.call("ncclAllReduce", *buffers, ctypes.c_size_t(size // WORD), 2, 0, communicator, stream)


def find_nccl() -> str:
    """Return the path of NCCL from a Python package, or the name under which the system knows it."""
    for folder in sys.path:
        path = os.path.join(folder, "nvidia", "nccl", "lib", "libnccl.so.2")
        if os.path.exists(path):
            return path
    return "libnccl.so.2"


@functools.lru_cache(maxsize=64)
def block(seed: int) -> array[int]:
    """Return one period of the test data of ``seed``, which repeats these words."""
    return array("I", ((number * 40503 + seed * 977 + 1) & 0xFFFFF for number in range(PERIOD)))


@functools.lru_cache(maxsize=64)
def sum_of_blocks(seeds: tuple[int, ...]) -> array[int]:
    """Return the sum of the blocks of ``seeds``, word by word."""
    return array("I", map(sum, zip(*map(block, seeds), strict=True)))


def repeated(words: array[int], size: int) -> bytes:
    data = words.tobytes()
    return (data * (size // len(data) + 1))[:size]


def differences(data: bytes, expected: bytes) -> Answer:
    """Return how many pages of ``data`` are wrong, the offset of the first wrong byte, and the bytes there."""
    if data == expected:
        return {"wrong": 0}
    pages = [at for at in range(0, len(data), PAGE) if data[at : at + PAGE] != expected[at : at + PAGE]]
    first = next(at for at in range(pages[0], len(data)) if data[at] != expected[at])
    shown = {"read": data[first : first + 16].hex(), "written": expected[first : first + 16].hex()}
    return {"wrong": len(pages), "pages": -(-len(data) // PAGE), "first_wrong": first, **shown}


class GpuProcess:
    """The part of the test that runs in the process of one GPU. ``Ranks.ask`` calls its methods by name."""

    def __init__(self, index: int, size: int, library: str | None) -> None:
        self.index, self.size, self.library = index, size, library
        self.driver = Driver(index)
        self.source, self.target = self.driver.allocate(size), self.driver.allocate(size)
        self.peers: dict[int, int] = {}
        self.nccl: Nccl | None = None
        self.groups: dict[tuple[int, ...], ctypes.c_void_p] = {}
        self._stop = threading.Event()
        self._load: threading.Thread | None = None
        self._load_memory = 0

    def opened(self) -> list[int]:
        return list(self.peers)

    def joined(self) -> list[tuple[int, ...]]:
        return list(self.groups)

    def claims(self, others: Sequence[int]) -> Answer:
        return {str(other): self.driver.can_access(other) for other in others}

    def handle(self) -> bytes:
        return self.driver.handle(self.target)

    def open(self, other: int, handle: bytes) -> None:
        self.peers[other] = self.driver.open(handle)

    def blank(self) -> None:
        self.driver.fill(self.target, self.size)

    def send(self, method: str, other: int, size: int, seed: int) -> None:
        """Write test data into the memory of another GPU."""
        self.driver.put(self.source, repeated(block(seed), size))
        getattr(self.driver, method)(self.peers[other], self.source, size)
        self.driver.wait()

    def compare(self, size: int, seed: int) -> Answer:
        """Check the data that another GPU wrote into this one's memory, and the memory behind it."""
        beyond = min(PAGE, self.size - size)
        return differences(
            self.driver.get(self.target, size + beyond), repeated(block(seed), size) + bytes([BLANK]) * beyond
        )

    def time_copies(self, method: str, other: int, size: int, repeats: int, each: bool) -> float:
        """Return the seconds of one copy: of many in a row, or with a wait after each of them."""
        start = getattr(self.driver, method)

        def once() -> float:
            begun = time.perf_counter()
            for _repeat in range(repeats):
                start(self.peers[other], self.source, size)
                if each:
                    self.driver.wait()
            self.driver.wait()
            return (time.perf_counter() - begun) / repeats

        return min(once() for _round in range(4))

    def unique_id(self) -> bytes:
        return self._nccl().unique_id()

    def nccl_version(self) -> str:
        return self._nccl().version()

    def join(self, ranks: tuple[int, ...], identifier: bytes) -> None:
        self.groups[ranks] = self._nccl().join(identifier, len(ranks), ranks.index(self.index))

    def all_reduce(self, ranks: tuple[int, ...], size: int, seed: int, repeats: int) -> Answer:
        """Check the sums of one all-reduce, then return the seconds of each of ``repeats``."""
        nccl, driver, group = self._nccl(), self.driver, self.groups[ranks]
        driver.put(self.source, repeated(block(seed + self.index), size))
        driver.fill(self.target, size)
        nccl.all_reduce(self.source, self.target, size, group, driver.stream)
        driver.wait()
        found = differences(
            driver.get(self.target, size), repeated(sum_of_blocks(tuple(seed + rank for rank in ranks)), size)
        )
        if not repeats:
            return found
        # The first all-reduce makes all ranks begin together.
        for count in (1, repeats):
            begun = time.perf_counter()
            for _repeat in range(count):
                nccl.all_reduce(self.source, self.target, size, group, driver.stream)
            driver.wait()
        return {**found, "seconds": (time.perf_counter() - begun) / repeats}

    def load(self, on: bool) -> None:
        """Start or stop copies within the memory of this GPU."""
        if self._load:
            self._stop.set()
            self._load.join()
        self._load = threading.Thread(target=self._copy_until_stopped, daemon=True) if on else None
        if self._load:
            self._stop.clear()
            self._load.start()

    def _copy_until_stopped(self) -> None:
        self.driver.use()
        stream = self.driver.new_stream()
        self._load_memory = memory = self._load_memory or self.driver.allocate(2 * LOAD)
        while not self._stop.is_set():
            for _copy in range(8):
                self.driver.copy(memory, memory + LOAD, LOAD, stream)
            self.driver.wait(stream)

    def _nccl(self) -> Nccl:
        self.nccl = self.nccl or Nccl(self.library)
        return self.nccl


def serve(pipe: Connection, index: int, size: int, library: str | None, environment: t.Mapping[str, str]) -> None:
    """Answer requests until the other end closes the pipe. An answer is ``(value, error)``."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.update({"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **environment})
    worker: GpuProcess | None = None
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            name, arguments = pipe.recv()
            try:
                worker = worker or GpuProcess(index, size, library)
                pipe.send((getattr(worker, name)(*arguments), None))
            except (CudaError, OSError) as error:
                pipe.send((None, str(error)))
    # Without the exit handlers of the driver and of NCCL, which wait for other ranks.
    os._exit(0)


class Hangs(Exception):
    """The processes of ``ranks`` did not answer in time."""

    def __init__(self, ranks: Sequence[int]) -> None:
        super().__init__("no answer")
        self.ranks = list(ranks)


class Failed(Exception):
    """A process answered with an error, or has died."""


class Ranks:
    """One process for each GPU."""

    def __init__(self, configuration: Configuration, environment: t.Mapping[str, str]) -> None:
        self.configuration, self.environment = configuration, environment
        self.processes: dict[int, tuple[multiprocessing.process.BaseProcess, Connection]] = {}

    def start(self) -> None:
        # fork: this process has not started the driver, and a test can replace a method of GpuProcess.
        context = multiprocessing.get_context("fork")
        size = max(self.configuration.sizes)
        for index in self.configuration.gpus:
            ours, theirs = context.Pipe()
            arguments = (theirs, index, size, self.configuration.library, self.environment)
            process = context.Process(target=serve, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self.processes[index] = process, ours

    def stop(self) -> None:
        for process, pipe in self.processes.values():
            process.kill()
            pipe.close()
        for process, _pipe in self.processes.values():
            process.join(5)
        self.processes = {}

    def ask(self, ranks: Sequence[int], name: str, *arguments: t.Any, deadline: float | None = None) -> list[t.Any]:
        """Send a request to ``ranks`` and return their answers.

        After an error all processes are stopped; the next request starts new ones.

        :raises Hangs: if a rank does not answer before the deadline.
        :raises Failed: if a rank answers with an error or has died.
        """
        if not self.processes:
            self.start()
        limit = time.monotonic() + (deadline or self.configuration.deadline)
        waiting = {self.processes[rank][1]: rank for rank in ranks}
        answers: dict[int, tuple[t.Any, str | None]] = {}
        for pipe in waiting:
            with contextlib.suppress(OSError):
                pipe.send((name, arguments))
        while waiting and (ready := wait(waiting, max(0.0, limit - time.monotonic()))):
            for pipe in t.cast(list[Connection], ready):
                rank = waiting.pop(pipe)
                try:
                    answers[rank] = pipe.recv()
                except (EOFError, OSError):
                    answers[rank] = None, "the process has died"
                if answers[rank][1]:
                    # After an error of one rank, the others may wait for it forever.
                    limit = min(limit, time.monotonic() + AFTER_ERROR)
        errors = [f"GPU {rank}: {error}" for rank, (_value, error) in answers.items() if error]
        if waiting or errors:
            self.stop()
            raise Failed("; ".join(errors)) if errors else Hangs(sorted(waiting.values()))
        return [answers[rank][0] for rank in ranks]

    def one(self, rank: int, name: str, *arguments: t.Any, deadline: float | None = None) -> t.Any:
        """Ask one rank, as ``ask`` does."""
        return self.ask([rank], name, *arguments, deadline=deadline)[0]


def emit(**values: t.Any) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def attempt(test: Callable[[], Answer]) -> Answer:
    """Return the answer of a test, or ``{"hangs": ranks}`` or ``{"error": text}``."""
    try:
        return test()
    except Hangs as hang:
        return {"hangs": hang.ranks}
    except Failed as failure:
        return {"error": str(failure)}


def good(answer: Answer) -> bool:
    return not (answer.get("wrong") or "hangs" in answer or "error" in answer)


@contextlib.contextmanager
def processes(configuration: Configuration, environment: t.Mapping[str, str]) -> Iterator[Ranks]:
    ranks = Ranks(configuration, environment)
    try:
        yield ranks
    finally:
        ranks.stop()


def test_copies(configuration: Configuration) -> None:
    """Test each ordered pair of GPUs: what the driver claims, then a copy and a write of each size."""
    gpus, sizes = configuration.gpus, configuration.sizes
    with processes(configuration, {}) as ranks:
        for sender, owner in itertools.permutations(gpus, 2):
            pair = {"from": sender, "to": owner}
            claim = attempt(lambda: {"offered": ranks.one(sender, "claims", [owner], deadline=START)[str(owner)]})  # noqa: B023
            emit(test="driver", **pair, **claim)
            if not claim.get("offered"):
                continue
            for method in ("copy", "write"):
                for seed, size in enumerate(sizes):
                    answer = attempt(lambda: copied(ranks, method, sender, owner, size, seed + 1))  # noqa: B023
                    emit(test=method, **pair, bytes=size, **answer)
                    if not good(answer):
                        break
                else:
                    emit(test=f"{method}_speed", **pair, **attempt(lambda: speeds(ranks, method, sender, owner, sizes)))  # noqa: B023


def copied(ranks: Ranks, method: str, sender: int, owner: int, size: int, seed: int) -> Answer:
    open_memory(ranks, sender, owner)
    ranks.one(owner, "blank")
    ranks.one(sender, "send", method, owner, size, seed)
    return t.cast(Answer, ranks.one(owner, "compare", size, seed))


def open_memory(ranks: Ranks, sender: int, owner: int) -> None:
    """Make the memory of ``owner`` accessible to ``sender``, once."""
    if owner not in ranks.one(sender, "opened", deadline=START):
        ranks.one(sender, "open", owner, ranks.one(owner, "handle", deadline=START), deadline=START)


def speeds(ranks: Ranks, method: str, sender: int, owner: int, sizes: Sequence[int]) -> Answer:
    """Return the bandwidth in bytes per second of the largest size and the latency in seconds of the smallest."""
    largest, smallest = max(sizes), min(sizes)
    return {
        "bandwidth": largest / ranks.one(sender, "time_copies", method, owner, largest, 20, False),
        "latency": ranks.one(sender, "time_copies", method, owner, smallest, 50, True),
    }


def test_all_reduce(configuration: Configuration, arm: str, hanging: list[tuple[int, ...]]) -> None:
    """Test the sums of all-reduces over each pair of GPUs and over all GPUs, with one NCCL setting.

    :param hanging: groups that hang and are not tested again. Groups that hang here are added.
    """
    gpus = tuple(configuration.gpus)
    pairs = list(itertools.combinations(gpus, 2)) if configuration.pairs and len(gpus) > 2 else []
    with processes(configuration, configuration.arms[arm]) as ranks:
        version = attempt(lambda: {"version": ranks.one(gpus[0], "nccl_version", deadline=START)})
        emit(test="nccl", arm=arm, **version)
        if "version" not in version:
            return
        for group in [*pairs, gpus]:
            common: Answer = {"test": "all_reduce", "arm": arm, "ranks": list(group)}
            known = next((other for other in hanging if set(other) <= set(group)), None)
            if known:
                emit(**common, not_run=f"all-reduce over GPUs {', '.join(map(str, known))} hangs")
                continue
            for size, loaded in itertools.product(configuration.sizes, (False, True)):
                if loaded and (not configuration.under_load or group != gpus):
                    continue
                answer = attempt(lambda: reduced(ranks, group, size, loaded))  # noqa: B023
                emit(**common, bytes=size, under_load=loaded, **answer)
                if "hangs" in answer:
                    hanging.append(group)
                if not good(answer):
                    break


def reduced(ranks: Ranks, group: tuple[int, ...], size: int, loaded: bool) -> Answer:
    if not all(group in groups for groups in ranks.ask(group, "joined", deadline=START)):
        identifier = ranks.one(group[0], "unique_id", deadline=START)
        ranks.ask(group, "join", group, identifier, deadline=START)
    if loaded:
        ranks.ask(group, "load", True)
    answers = ranks.ask(group, "all_reduce", group, size, size % 89, 0 if loaded else ranks.configuration.repeats)
    if loaded:
        ranks.ask(group, "load", False)
    wrong = {rank: answer for rank, answer in zip(group, answers, strict=True) if answer["wrong"]}
    first = next(iter(wrong.values()), {"wrong": 0})
    seconds = [answer["seconds"] for answer in answers if "seconds" in answer]
    return {**first, "wrong_ranks": list(wrong), "seconds": max(seconds, default=None)}


def main() -> None:
    configuration = Configuration(**json.loads(sys.argv[1]))
    if configuration.copies:
        test_copies(configuration)
    hanging: dict[bool, list[tuple[int, ...]]] = {False: [], True: []}
    for arm, environment in configuration.arms.items():
        test_all_reduce(configuration, arm, hanging["NCCL_P2P_DISABLE" in environment])
    emit(test="end")


if __name__ == "__main__":
    main()
