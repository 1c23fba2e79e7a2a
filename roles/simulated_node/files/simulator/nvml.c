/*
 * Copyright (c) 2026, multigpu.vllm maintainers
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A mock libnvidia-ml.so.1 that returns values from a state file in its own directory. Its functions have the
 * signatures that nvidia-ml-py declares. NVML functions that are not defined here are missing, as in an old driver.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x4e4f44453031LL
#define UNSUPPORTED INT64_MIN
#define MAX_GPUS 16
#define API __attribute__((visibility("default")))

enum {
  SUCCESS = 0,
  UNINITIALIZED = 1,
  INVALID_ARGUMENT = 2,
  NOT_SUPPORTED = 3,
  NO_PERMISSION = 4,
  NOT_FOUND = 6,
  INSUFFICIENT_SIZE = 7,
  DRIVER_NOT_LOADED = 9,
  GPU_IS_LOST = 15,
  ARGUMENT_VERSION_MISMATCH = 25,
  UNKNOWN = 999
};

#define NODE_VALUE(name, count) int64_t name[count];
#define NODE_TEXT(name, size) char name[size];
#define GPU_VALUE(name, count)
#define GPU_TEXT(name, size)
struct node {
#include "state.def"
};
#undef NODE_VALUE
#undef NODE_TEXT
#undef GPU_VALUE
#undef GPU_TEXT
#define NODE_VALUE(name, count)
#define NODE_TEXT(name, size)
#define GPU_VALUE(name, count) int64_t name[count];
#define GPU_TEXT(name, size) char name[size];
struct gpu {
#include "state.def"
};

struct state {
  struct node node;
  struct gpu gpus[MAX_GPUS];
};

typedef struct gpu *device_t;

static struct state *shared;
static int users;

static int open_state(void) {
  static char anchor;
  char path[4096];
  Dl_info info;
  if (!dladdr(&anchor, &info) || !info.dli_fname) return DRIVER_NOT_LOADED;
  const char *slash = strrchr(info.dli_fname, '/');
  int length = slash ? (int)(slash - info.dli_fname) : 1;
  snprintf(path, sizeof path, "%.*s/node.state", length, slash ? info.dli_fname : ".");
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return DRIVER_NOT_LOADED;
  struct stat status;
  void *memory = MAP_FAILED;
  if (!fstat(file, &status) && status.st_size >= (off_t)sizeof(struct state))
    memory = mmap(NULL, sizeof(struct state), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return DRIVER_NOT_LOADED;
  if (((struct state *)memory)->node.magic[0] != MAGIC) {
    munmap(memory, sizeof(struct state));
    return DRIVER_NOT_LOADED;
  }
  shared = memory;
  return SUCCESS;
}

/* Copies part of the state without mixing two updates. Stops retrying if the writer died during an update. */
static void snapshot(void *copy, const void *source, size_t size) {
  volatile int64_t *sequence = shared->node.sequence;
  for (int attempt = 0; attempt < 1000; attempt++) {
    int64_t before = __atomic_load_n(sequence, __ATOMIC_ACQUIRE);
    memcpy(copy, source, size);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (!(before & 1) && __atomic_load_n(sequence, __ATOMIC_RELAXED) == before) return;
    sched_yield();
  }
}

static int read_gpu(device_t device, struct gpu *copy) {
  if (!shared || !users) return UNINITIALIZED;
  if (device < shared->gpus || device >= shared->gpus + shared->node.gpu_count[0]) return INVALID_ARGUMENT;
  snapshot(copy, device, sizeof *copy);
  return (int)copy->result[0];
}

static int index_of(device_t device) { return (int)(device - shared->gpus); }

static int put_text(char *out, unsigned size, const char *text) {
  if (!out) return INVALID_ARGUMENT;
  if (strlen(text) + 1 > size) return INSUFFICIENT_SIZE;
  strcpy(out, text);
  return SUCCESS;
}

/* ---- library and system -------------------------------------------------------------------------------- */

API int nvmlInitWithFlags(unsigned flags) {
  (void)flags;
  if (!shared) {
    int result = open_state();
    if (result) return result;
  }
  int result = (int)shared->node.init_result[0];
  if (result) return result;
  users++;
  return SUCCESS;
}
API int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
API int nvmlInit(void) { return nvmlInitWithFlags(0); }

API int nvmlShutdown(void) {
  if (!users) return UNINITIALIZED;
  if (--users == 0) {
    munmap(shared, sizeof(struct state));
    shared = NULL;
  }
  return SUCCESS;
}

API const char *nvmlErrorString(int result) {
  switch (result) {
    case SUCCESS: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NO_PERMISSION: return "Insufficient Permissions";
    case NOT_FOUND: return "Not Found";
    case INSUFFICIENT_SIZE: return "Insufficient Size";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case GPU_IS_LOST: return "GPU is lost";
    case ARGUMENT_VERSION_MISMATCH: return "Argument version mismatch";
    default: return "Unknown Error";
  }
}

API int nvmlSystemGetDriverVersion(char *out, unsigned size) {
  return users ? put_text(out, size, shared->node.driver_version) : UNINITIALIZED;
}
API int nvmlSystemGetNVMLVersion(char *out, unsigned size) {
  return users ? put_text(out, size, shared->node.nvml_version) : UNINITIALIZED;
}
API int nvmlSystemGetCudaDriverVersion(int *out) {
  if (!users) return UNINITIALIZED;
  *out = (int)shared->node.cuda_version[0];
  return SUCCESS;
}
API int nvmlSystemGetCudaDriverVersion_v2(int *out) { return nvmlSystemGetCudaDriverVersion(out); }

API int nvmlSystemGetProcessName(unsigned pid, char *out, unsigned size) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%u/cmdline", pid);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return NOT_FOUND;
  ssize_t length = read(file, out, size - 1);
  close(file);
  if (length <= 0) return NOT_FOUND;
  out[length] = 0;
  return SUCCESS;
}

API int nvmlDeviceGetCount_v2(unsigned *out) {
  if (!users) return UNINITIALIZED;
  *out = (unsigned)shared->node.gpu_count[0];
  return SUCCESS;
}
API int nvmlDeviceGetCount(unsigned *out) { return nvmlDeviceGetCount_v2(out); }

/* ---- handles ------------------------------------------------------------------------------------------- */

API int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t *out) {
  if (!users) return UNINITIALIZED;
  if (index >= (unsigned)shared->node.gpu_count[0]) return INVALID_ARGUMENT;
  /* A GPU that fell off the bus is still counted but has no handle. */
  int result = (int)shared->gpus[index].result[0];
  if (result) return result;
  *out = &shared->gpus[index];
  return SUCCESS;
}
API int nvmlDeviceGetHandleByIndex(unsigned index, device_t *out) { return nvmlDeviceGetHandleByIndex_v2(index, out); }

static int find_device(const char *text, size_t offset, device_t *out) {
  if (!users) return UNINITIALIZED;
  for (int i = 0; i < shared->node.gpu_count[0]; i++) {
    const char *value = (const char *)&shared->gpus[i] + offset;
    /* A bus id may have a domain of eight or four digits. */
    if (!strcasecmp(value, text) || (strlen(value) > 4 && !strcasecmp(value + 4, text)))
      return nvmlDeviceGetHandleByIndex_v2((unsigned)i, out);
  }
  return NOT_FOUND;
}
API int nvmlDeviceGetHandleByUUID(const char *uuid, device_t *out) {
  return find_device(uuid, offsetof(struct gpu, uuid), out);
}
API int nvmlDeviceGetHandleBySerial(const char *serial, device_t *out) {
  return find_device(serial, offsetof(struct gpu, serial), out);
}
API int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, device_t *out) {
  return find_device(bus_id, offsetof(struct gpu, pci_bus_id), out);
}

/* ---- one value of one GPU ------------------------------------------------------------------------------ */

static int read_value(device_t device, size_t offset, int64_t *out) {
  struct gpu gpu;
  int result = read_gpu(device, &gpu);
  if (result) return result;
  memcpy(out, (const char *)&gpu + offset, sizeof *out);
  return *out == UNSUPPORTED ? NOT_SUPPORTED : SUCCESS;
}

#define GETTER(function, type, field)                                    \
  API int function(device_t device, type *out) {                         \
    int64_t value;                                                       \
    int result = read_value(device, offsetof(struct gpu, field), &value); \
    if (!result) *out = (type)value;                                     \
    return result;                                                       \
  }

#define TEXT_GETTER(function, field)                               \
  API int function(device_t device, char *out, unsigned size) {    \
    struct gpu gpu;                                                \
    int result = read_gpu(device, &gpu);                           \
    if (result) return result;                                     \
    return gpu.field[0] ? put_text(out, size, gpu.field) : NOT_SUPPORTED; \
  }

/* Returns one of several values by index. An index that is out of range is an invalid argument. */
#define INDEXED_GETTER(function, field)                                               \
  API int function(device_t device, unsigned which, unsigned *out) {                  \
    if (which >= sizeof(((struct gpu *)0)->field) / sizeof(int64_t)) return INVALID_ARGUMENT; \
    int64_t value;                                                                    \
    int result = read_value(device, offsetof(struct gpu, field) + which * sizeof(int64_t), &value); \
    if (!result) *out = (unsigned)value;                                              \
    return result;                                                                    \
  }

TEXT_GETTER(nvmlDeviceGetName, name)
TEXT_GETTER(nvmlDeviceGetUUID, uuid)
TEXT_GETTER(nvmlDeviceGetSerial, serial)
TEXT_GETTER(nvmlDeviceGetVbiosVersion, vbios)

GETTER(nvmlDeviceGetFanSpeed, unsigned, fan_speed)
GETTER(nvmlDeviceGetPowerUsage, unsigned, power_draw)
GETTER(nvmlDeviceGetPowerManagementLimit, unsigned, power_limit)
GETTER(nvmlDeviceGetEnforcedPowerLimit, unsigned, power_limit)
GETTER(nvmlDeviceGetPowerManagementDefaultLimit, unsigned, power_limit_default)
GETTER(nvmlDeviceGetTotalEnergyConsumption, unsigned long long, energy)
GETTER(nvmlDeviceGetMemoryBusWidth, unsigned, memory_bus_width)
GETTER(nvmlDeviceGetNumGpuCores, unsigned, cores)
GETTER(nvmlDeviceGetArchitecture, unsigned, architecture)
GETTER(nvmlDeviceGetCurrPcieLinkGeneration, unsigned, pcie_generation)
GETTER(nvmlDeviceGetMaxPcieLinkGeneration, unsigned, pcie_generation_max)
GETTER(nvmlDeviceGetGpuMaxPcieLinkGeneration, unsigned, pcie_generation_max)
GETTER(nvmlDeviceGetCurrPcieLinkWidth, unsigned, pcie_width)
GETTER(nvmlDeviceGetMaxPcieLinkWidth, unsigned, pcie_width_max)
GETTER(nvmlDeviceGetPcieSpeed, unsigned, pcie_speed)
GETTER(nvmlDeviceGetPcieReplayCounter, unsigned, pcie_replay_counter)
GETTER(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, throttle_reasons)
GETTER(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long, throttle_reasons)
GETTER(nvmlDeviceGetSupportedClocksEventReasons, unsigned long long, throttle_reasons_supported)
GETTER(nvmlDeviceGetSupportedClocksThrottleReasons, unsigned long long, throttle_reasons_supported)
GETTER(nvmlDeviceGetPersistenceMode, unsigned, persistence_mode)
GETTER(nvmlDeviceGetPerformanceState, unsigned, performance_state)
GETTER(nvmlDeviceGetPowerState, unsigned, performance_state)

INDEXED_GETTER(nvmlDeviceGetTemperatureThreshold, temperature_threshold)
INDEXED_GETTER(nvmlDeviceGetClockInfo, clocks)
INDEXED_GETTER(nvmlDeviceGetMaxClockInfo, clocks_max)
INDEXED_GETTER(nvmlDeviceGetPcieThroughput, pcie_throughput)
INDEXED_GETTER(nvmlDeviceGetNvLinkState, nvlink_state)

API int nvmlDeviceGetIndex(device_t device, unsigned *out) {
  struct gpu gpu;
  int result = read_gpu(device, &gpu);
  if (!result) *out = (unsigned)index_of(device);
  return result;
}
API int nvmlDeviceGetMinorNumber(device_t device, unsigned *out) { return nvmlDeviceGetIndex(device, out); }

API int nvmlDeviceGetTemperature(device_t device, unsigned sensor, unsigned *out) {
  int64_t value;
  if (sensor) return INVALID_ARGUMENT;
  int result = read_value(device, offsetof(struct gpu, temperature), &value);
  if (!result) *out = (unsigned)value;
  return result;
}

struct temperature {
  unsigned version, sensor;
  int temperature;
};
API int nvmlDeviceGetTemperatureV(device_t device, struct temperature *out) {
  unsigned value;
  if (out->version != 0x100000C) return ARGUMENT_VERSION_MISMATCH;
  int result = nvmlDeviceGetTemperature(device, out->sensor, &value);
  if (!result) out->temperature = (int)value;
  return result;
}

struct margin {
  unsigned version;
  int margin;
};
API int nvmlDeviceGetMarginTemperature(device_t device, struct margin *out) {
  int64_t value;
  if (out->version != 0x1000008) return ARGUMENT_VERSION_MISMATCH;
  int result = read_value(device, offsetof(struct gpu, temperature_margin), &value);
  if (!result) out->margin = (int)value;
  return result;
}

API int nvmlDeviceGetPowerManagementLimitConstraints(device_t device, unsigned *lowest, unsigned *highest) {
  struct gpu gpu;
  int result = read_gpu(device, &gpu);
  if (result) return result;
  if (gpu.power_limit_min[0] == UNSUPPORTED) return NOT_SUPPORTED;
  *lowest = (unsigned)gpu.power_limit_min[0];
  *highest = (unsigned)gpu.power_limit_max[0];
  return SUCCESS;
}

/* Clock ids: 0 current, 1 application target, 2 application default, 3 maximum boost set by the customer. */
API int nvmlDeviceGetClock(device_t device, unsigned type, unsigned id, unsigned *out) {
  if (id == 0) return nvmlDeviceGetClockInfo(device, type, out);
  return id == 3 ? nvmlDeviceGetMaxClockInfo(device, type, out) : NOT_SUPPORTED;
}

struct utilization {
  unsigned gpu, memory;
};
API int nvmlDeviceGetUtilizationRates(device_t device, struct utilization *out) {
  struct gpu gpu;
  int result = read_gpu(device, &gpu);
  if (result) return result;
  if (gpu.utilization_gpu[0] == UNSUPPORTED) return NOT_SUPPORTED;
  out->gpu = (unsigned)gpu.utilization_gpu[0];
  out->memory = (unsigned)gpu.utilization_memory[0];
  return SUCCESS;
}

/* ---- memory and processes ------------------------------------------------------------------------------ */

struct memory {
  unsigned long long total, free, used;
};
/* Version 1 counts the memory that the driver reserves as used. Version 2 lists it separately. */
API int nvmlDeviceGetMemoryInfo(device_t device, struct memory *out) {
  struct gpu gpu;
  int result = read_gpu(device, &gpu);
  if (result) return result;
  out->total = (unsigned long long)gpu.memory_total[0];
  out->used = (unsigned long long)(gpu.memory_used[0] + gpu.memory_reserved[0]);
  out->free = out->total - out->used;
  return SUCCESS;
}

struct memory_v2 {
  unsigned version;
  unsigned long long total, reserved, free, used;
};
API int nvmlDeviceGetMemoryInfo_v2(device_t device, struct memory_v2 *out) {
  struct gpu gpu;
  if ((out->version & 0xffffff) != sizeof *out || out->version >> 24 != 2) return ARGUMENT_VERSION_MISMATCH;
  int result = read_gpu(device, &gpu);
  if (result) return result;
  out->total = (unsigned long long)gpu.memory_total[0];
  out->reserved = (unsigned long long)gpu.memory_reserved[0];
  out->used = (unsigned long long)gpu.memory_used[0];
  out->free = out->total - out->reserved - out->used;
  return SUCCESS;
}

API int nvmlDeviceGetBAR1MemoryInfo(device_t device, struct memory *out) {
  struct gpu gpu;
  int result = read_gpu(device, &gpu);
  if (result) return result;
  if (gpu.bar1_total[0] == UNSUPPORTED) return NOT_SUPPORTED;
  out->total = (unsigned long long)gpu.bar1_total[0];
  out->used = 2ULL << 20;
  out->free = out->total - out->used;
  return SUCCESS;
}

struct process {
  unsigned pid;
  unsigned long long memory;
  unsigned gpu_instance, compute_instance;
};
API int nvmlDeviceGetComputeRunningProcesses_v3(device_t device, unsigned *count, struct process *out) {
  struct gpu gpu;
  int result = read_gpu(device, &gpu);
  if (result) return result;
  unsigned room = *count;
  *count = (unsigned)gpu.process_count[0];
  if (!*count) return SUCCESS;
  if (!out || room < *count) return INSUFFICIENT_SIZE;
  for (unsigned i = 0; i < *count; i++) {
    int64_t memory = gpu.process_memory[i];
    out[i] = (struct process){(unsigned)gpu.process_pid[i], memory == UNSUPPORTED ? ~0ULL : (unsigned long long)memory,
                              ~0U, ~0U};
  }
  return SUCCESS;
}
API int nvmlDeviceGetComputeRunningProcesses_v2(device_t device, unsigned *count, struct process *out) {
  return nvmlDeviceGetComputeRunningProcesses_v3(device, count, out);
}
API int nvmlDeviceGetGraphicsRunningProcesses_v3(device_t device, unsigned *count, struct process *out) {
  struct gpu gpu;
  (void)out;
  *count = 0;
  return read_gpu(device, &gpu);
}
API int nvmlDeviceGetGraphicsRunningProcesses_v2(device_t device, unsigned *count, struct process *out) {
  return nvmlDeviceGetGraphicsRunningProcesses_v3(device, count, out);
}

/* ---- PCI, topology, NVLink ----------------------------------------------------------------------------- */

struct pci {
  char legacy_id[16];
  unsigned domain, bus, device, device_id, subsystem_id;
  char id[32];
};
API int nvmlDeviceGetPciInfo_v3(device_t device, struct pci *out) {
  struct gpu gpu;
  int result = read_gpu(device, &gpu);
  if (result) return result;
  memset(out, 0, sizeof *out);
  out->domain = (unsigned)gpu.pci[0];
  out->bus = (unsigned)gpu.pci[1];
  out->device = (unsigned)gpu.pci[2];
  out->device_id = (unsigned)gpu.pci[3];
  out->subsystem_id = (unsigned)gpu.pci[4];
  snprintf(out->id, sizeof out->id, "%s", gpu.pci_bus_id);
  snprintf(out->legacy_id, sizeof out->legacy_id, "%.15s", gpu.pci_bus_id + 4);
  return SUCCESS;
}
API int nvmlDeviceGetPciInfo_v2(device_t device, struct pci *out) { return nvmlDeviceGetPciInfo_v3(device, out); }

static int read_pair(const int64_t *matrix, device_t first, device_t second, unsigned *out) {
  struct gpu gpu;
  int result = read_gpu(first, &gpu);
  if (!result) result = read_gpu(second, &gpu);
  if (result) return result;
  int64_t value = matrix[index_of(first) * MAX_GPUS + index_of(second)];
  if (value == UNSUPPORTED) return NOT_SUPPORTED;
  *out = (unsigned)value;
  return SUCCESS;
}
API int nvmlDeviceGetTopologyCommonAncestor(device_t first, device_t second, unsigned *out) {
  return read_pair(shared ? shared->node.topology : NULL, first, second, out);
}
API int nvmlDeviceGetP2PStatus(device_t first, device_t second, unsigned what, unsigned *out) {
  /* 0 read, 1 write, 2 NVLink, 3 atomics, 4 PCI. These GPUs have no NVLink. */
  int result = read_pair(shared ? shared->node.p2p : NULL, first, second, out);
  if (!result && what == 2) *out = 5;
  return result;
}

API int nvmlDeviceGetNvLinkRemotePciInfo_v2(device_t device, unsigned link, struct pci *out) {
  struct gpu gpu;
  if (link >= 18) return INVALID_ARGUMENT;
  int result = read_gpu(device, &gpu);
  if (result) return result;
  if (gpu.nvlink_peer[link] == UNSUPPORTED) return NOT_SUPPORTED;
  return nvmlDeviceGetPciInfo_v3(&shared->gpus[gpu.nvlink_peer[link]], out);
}
/* The type 0 means that the remote device is a GPU. */
API int nvmlDeviceGetNvLinkRemoteDeviceType(device_t device, unsigned link, unsigned *out) {
  unsigned state;
  int result = nvmlDeviceGetNvLinkState(device, link, &state);
  if (!result) *out = 0;
  return result;
}
API int nvmlDeviceGetNvLinkCapability(device_t device, unsigned link, unsigned capability, unsigned *out) {
  (void)capability;
  return nvmlDeviceGetNvLinkState(device, link, out);
}

/* ---- health -------------------------------------------------------------------------------------------- */

API int nvmlDeviceGetEccMode(device_t device, unsigned *current, unsigned *pending) {
  int64_t value;
  int result = read_value(device, offsetof(struct gpu, ecc_mode), &value);
  if (!result) *current = *pending = (unsigned)value;
  return result;
}
API int nvmlDeviceGetTotalEccErrors(device_t device, unsigned type, unsigned counter, unsigned long long *out) {
  struct gpu gpu;
  if (type > 1 || counter > 1) return INVALID_ARGUMENT;
  int result = read_gpu(device, &gpu);
  if (result) return result;
  /* With ECC disabled there are no counters. */
  if (gpu.ecc_mode[0] != 1 || gpu.ecc_errors[type * 2 + counter] == UNSUPPORTED) return NOT_SUPPORTED;
  *out = (unsigned long long)gpu.ecc_errors[type * 2 + counter];
  return SUCCESS;
}
API int nvmlDeviceGetMemoryErrorCounter(device_t device, unsigned type, unsigned counter, unsigned location,
                                        unsigned long long *out) {
  /* 2 is device memory, 7 is SRAM. These GPUs have no other separate counters. */
  int result = nvmlDeviceGetTotalEccErrors(device, type, counter, out);
  if (result) return result;
  if (location == 7) *out = 0;
  return location == 2 || location == 7 ? SUCCESS : NOT_SUPPORTED;
}
API int nvmlDeviceGetRemappedRows(device_t device, unsigned *corrected, unsigned *uncorrected, unsigned *pending,
                                  unsigned *failed) {
  struct gpu gpu;
  int result = read_gpu(device, &gpu);
  if (result) return result;
  if (gpu.remapped_rows[0] == UNSUPPORTED) return NOT_SUPPORTED;
  *corrected = (unsigned)gpu.remapped_rows[0];
  *uncorrected = (unsigned)gpu.remapped_rows[1];
  *pending = (unsigned)gpu.remapped_rows[2];
  *failed = (unsigned)gpu.remapped_rows[3];
  return SUCCESS;
}

API int nvmlDeviceGetMigMode(device_t device, unsigned *current, unsigned *pending) {
  int64_t value;
  int result = read_value(device, offsetof(struct gpu, mig_mode), &value);
  if (!result) *current = *pending = (unsigned)value;
  return result;
}

API int nvmlDeviceGetCudaComputeCapability(device_t device, int *major, int *minor) {
  struct gpu gpu;
  int result = read_gpu(device, &gpu);
  if (result) return result;
  *major = (int)gpu.compute_capability[0];
  *minor = (int)gpu.compute_capability[1];
  return SUCCESS;
}

/* ---- field values -------------------------------------------------------------------------------------- */

struct field {
  uint32_t id, scope;
  int64_t timestamp, latency;
  int type, result;
  union {
    double d;
    unsigned u;
    unsigned long long ull;
    long long sll;
    int i;
  } value;
};

static const struct {
  uint32_t id;
  size_t offset;
  int type; /* 1 unsigned, 3 unsigned long long, 5 signed */
} FIELDS[] = {
    {83, offsetof(struct gpu, energy), 3},
    {94, offsetof(struct gpu, pcie_replay_counter), 1},
    {142, offsetof(struct gpu, remapped_rows), 1},
    {143, offsetof(struct gpu, remapped_rows) + 8, 1},
    {144, offsetof(struct gpu, remapped_rows) + 16, 1},
    {145, offsetof(struct gpu, remapped_rows) + 24, 1},
    {185, offsetof(struct gpu, power_draw), 1},
    {186, offsetof(struct gpu, power_draw), 1},
    {193, offsetof(struct gpu, tlimit), 5},
    {194, offsetof(struct gpu, tlimit) + 8, 5},
    {195, offsetof(struct gpu, tlimit) + 16, 5},
    {196, offsetof(struct gpu, tlimit) + 24, 5},
};

API int nvmlDeviceGetFieldValues(device_t device, int count, struct field *values) {
  struct gpu gpu;
  int result = read_gpu(device, &gpu);
  if (result) return result;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  for (int i = 0; i < count; i++) {
    struct field *field = &values[i];
    field->timestamp = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    field->latency = 0;
    field->result = NOT_SUPPORTED;
    for (size_t entry = 0; entry < sizeof FIELDS / sizeof *FIELDS; entry++) {
      if (FIELDS[entry].id != field->id) continue;
      int64_t value;
      memcpy(&value, (const char *)&gpu + FIELDS[entry].offset, sizeof value);
      if (value == UNSUPPORTED) break;
      field->type = FIELDS[entry].type;
      field->value.ull = 0;
      if (field->type == 5) field->value.i = (int)value;
      else if (field->type == 1) field->value.u = (unsigned)value;
      else field->value.ull = (unsigned long long)value;
      field->result = SUCCESS;
    }
  }
  return SUCCESS;
}
