/*
 * Copyright (c) 2026, multigpu.vllm maintainers
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Stand-in for libcuda.so.1 and libnccl.so.2: the functions that the module p2p_check calls, over files that processes
 * share. They are in the directory peer beside this library; files of ended processes are removed.
 *
 * The file peer-fault beside this library is empty or contains "kind:a-b", a fault between GPU a and GPU b:
 *   denied      the driver offers no access from a to b
 *   mirror      what a writes to b stays in a private copy
 *   byte        one byte in a million that a writes to b is wrong
 *   large       what a writes to b beyond 1 MiB is wrong
 *   stuck       writes from a to b never end
 *   slow        writes from a to b take ten times as long
 *   hang        all-reduces with a and b never end, unless NCCL_P2P_DISABLE is set
 *   sum         all-reduces with a and b give a wrong sum, unless NCCL_P2P_DISABLE is set
 *   always      all-reduces with a and b give a wrong sum
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#pragma GCC visibility push(default)

#define RANKS 8
#define SLOT (64 << 20)
/* Bytes of a copy within one GPU, which only makes load. */
#define LOAD (4 << 20)
typedef struct { char name[64]; } Handle;
typedef struct { char name[128]; } Id;
typedef struct { int64_t arrivals; int64_t gpus[RANKS]; char slots[RANKS][SLOT]; } Shared;
typedef struct { Shared *shared; int ranks, rank; int64_t barriers; } Comm;
static struct { uint64_t address, size; int owner; char name[64]; } memory[64];
static int memories, self = -1;
static double seconds;
static char set_fault[32];

/* The path of a file beside this library. */
static void beside(char *path, size_t size, const char *folder, const char *name) {
    static char anchor;
    Dl_info info;
    int length = 1;
    const char *slash = NULL;
    if (dladdr(&anchor, &info) && info.dli_fname && (slash = strrchr(info.dli_fname, '/')))
        length = (int)(slash - info.dli_fname);
    snprintf(path, size, "%.*s/%s%s", length, slash ? info.dli_fname : ".", folder, name);
}
static int fault(const char *kind, int a, int b) {
    char wanted[32];
    snprintf(wanted, sizeof wanted, "%s:%d-%d", kind, a, b);
    return !strcmp(set_fault, wanted);
}
/* Reads the fault, and removes the files of ended processes. Their names contain the process id. */
static void start(void) {
    char path[4096];
    int owner;
    beside(path, sizeof path, "", "peer-fault");
    FILE *file = fopen(path, "r");
    if (file) {
        if (fscanf(file, "%31s", set_fault) != 1) set_fault[0] = 0;
        fclose(file);
    }
    beside(path, sizeof path, "peer", "");
    mkdir(path, 0700);
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if ((sscanf(entry->d_name, "memory-%*d-%d-", &owner) == 1 || sscanf(entry->d_name, "group-%d-", &owner) == 1) &&
            kill(owner, 0) && errno == ESRCH)
            unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder) closedir(folder);
}
static void *map(const char *name, uint64_t size) {
    char path[4096];
    beside(path, sizeof path, "peer/", name);
    int file = open(path, O_RDWR | O_CREAT, 0600);
    struct stat status;
    fstat(file, &status);
    if ((uint64_t)status.st_size < size && ftruncate(file, (off_t)size)) abort();
    void *address = mmap(NULL, size ? size : (uint64_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    return address;
}
static uint64_t keep(const char *name, uint64_t size, int owner) {
    uint64_t address = (uint64_t)(uintptr_t)map(name, size);
    memory[memories].address = address;
    memory[memories].size = size;
    memory[memories].owner = owner;
    snprintf(memory[memories++].name, 64, "%s", name);
    return address;
}
static int owner_of(uint64_t address) {
    for (int i = 0; i < memories; i++)
        if (address >= memory[i].address && address < memory[i].address + memory[i].size) return memory[i].owner;
    return self;
}
static void transfer(uint64_t to, uint64_t from, uint64_t size) {
    int owner = owner_of(to);
    if (owner == self && size > LOAD) size = LOAD;
    char *target = (char *)(uintptr_t)to, *source = (char *)(uintptr_t)from;
    seconds += (1e-6 + (double)size / 20e9) * (fault("slow", self, owner) ? 10 : 1);
    if (fault("stuck", self, owner)) pause();
    if (fault("mirror", self, owner)) return;
    memcpy(target, source, size);
    if (fault("byte", self, owner))
        for (uint64_t at = 999999; at < size; at += 1000000) target[at] ^= 1;
    if (fault("large", self, owner) && size > 1 << 20) target[(1 << 20) + 5] ^= 0x40;
}

/* --- the driver ------------------------------------------------------------------------------------------------- */
double fake_seconds(void) { return seconds; }
int cuInit(unsigned flags) { (void)flags; start(); return 0; }
int cuGetErrorName(int code, const char **name) { (void)code; *name = "CUDA_ERROR_FAKE"; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; if (self < 0) self = index; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)(intptr_t)(device + 1); return 0; }
int cuCtxSetCurrent(void *context) { (void)context; return 0; }
// Data from the host is staged and arrives with the next synchronisation, as a real driver may do.
static struct { uint64_t to; void *data; size_t size; } staged;
int cuCtxSynchronize(void) {
    if (staged.data) memcpy((void *)(uintptr_t)staged.to, staged.data, staged.size);
    free(staged.data);
    staged.data = NULL;
    return 0;
}
int cuStreamCreate(void **stream, unsigned flags) { (void)flags; *stream = (void *)1; return 0; }
int cuStreamSynchronize(void *stream) { (void)stream; return 0; }
int cuMemAlloc_v2(uint64_t *address, size_t size) {
    char name[64];
    snprintf(name, sizeof name, "memory-%d-%d-%d", self, getpid(), memories);
    *address = keep(name, size, self);
    return 0;
}
int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t size) {
    cuCtxSynchronize();
    staged.to = to, staged.size = size, staged.data = malloc(size);
    if (!staged.data) return 2;
    memcpy(staged.data, from, size);
    return 0;
}
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t size) {
    cuCtxSynchronize();
    memcpy(to, (void *)(uintptr_t)from, size);
    return 0;
}
int cuMemsetD8_v2(uint64_t to, unsigned char byte, size_t size) { memset((void *)(uintptr_t)to, byte, size); return 0; }
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t size, void *stream) {
    (void)stream;
    transfer(to, from, size);
    return 0;
}
int cuModuleLoadData(void **module, const void *image) { *module = (void *)image; return 0; }
int cuModuleGetFunction(void **function, void *module, const char *name) { (void)name; *function = module; return 0; }
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **values, void **extra) {
    (void)function, (void)gx, (void)gy, (void)gz, (void)bx, (void)by, (void)bz, (void)shared, (void)stream, (void)extra;
    transfer(*(uint64_t *)values[0], *(uint64_t *)values[1], *(uint64_t *)values[2] * 4);
    return 0;
}
int cuDeviceCanAccessPeer(int *answer, int device, int peer) { *answer = !fault("denied", device, peer); return 0; }
int cuIpcGetMemHandle(Handle *handle, uint64_t address) {
    for (int i = 0; i < memories; i++)
        if (memory[i].address == address) memcpy(handle->name, memory[i].name, 64);
    return 0;
}
int cuIpcOpenMemHandle_v2(uint64_t *address, Handle handle, unsigned flags) {
    struct stat status;
    char path[4096];
    (void)flags;
    beside(path, sizeof path, "peer/", handle.name);
    if (stat(path, &status)) return 1;
    *address = keep(handle.name, (uint64_t)status.st_size, atoi(handle.name + strlen("memory-")));
    return 0;
}

/* --- NCCL -------------------------------------------------------------------------------------------------------- */
const char *ncclGetErrorString(int code) { (void)code; return "fake error"; }
int ncclGetVersion(int *version) { *version = 22809; return 0; }
int ncclGetUniqueId(Id *id) {
    static int count;
    snprintf(id->name, sizeof id->name, "group-%d-%d", getpid(), count++);
    return 0;
}
static void barrier(Comm *comm) {
    int64_t goal = ++comm->barriers * comm->ranks;
    __atomic_add_fetch(&comm->shared->arrivals, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&comm->shared->arrivals, __ATOMIC_SEQ_CST) < goal) usleep(20);
}
int ncclCommInitRank(Comm **result, int ranks, Id id, int rank) {
    Comm *comm = calloc(1, sizeof *comm);
    comm->shared = map(id.name, sizeof(Shared));
    comm->ranks = ranks;
    comm->rank = rank;
    comm->shared->gpus[rank] = self;
    barrier(comm);
    *result = comm;
    return 0;
}
static int between(Comm *comm, const char *kind) {
    for (int a = 0; a < comm->ranks; a++)
        for (int b = 0; b < comm->ranks; b++)
            if (fault(kind, (int)comm->shared->gpus[a], (int)comm->shared->gpus[b])) return 1;
    return 0;
}
int ncclAllReduce(const void *from, void *to, size_t count, int type, int operation, Comm *comm, void *stream) {
    const char *off = getenv("NCCL_P2P_DISABLE");
    int peers = !off || strcmp(off, "1");
    (void)type, (void)operation, (void)stream;
    seconds += (double)count * 4 / 10e9;
    if (peers && between(comm, "hang")) pause();
    memcpy(comm->shared->slots[comm->rank], from, count * 4);
    barrier(comm);
    for (size_t word = 0; word < count; word++) {
        int32_t sum = 0;
        for (int rank = 0; rank < comm->ranks; rank++) sum += ((int32_t *)comm->shared->slots[rank])[word];
        ((int32_t *)to)[word] = sum;
    }
    if ((peers && between(comm, "sum")) || between(comm, "always")) ((int32_t *)to)[count / 2] += 1;
    barrier(comm);
    return 0;
}
