/* What kernels share: the buffers of a call from XLA, and loops over pieces of work in XLA's own threads. */

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "xla/ffi/api/c_api.h"

static inline const XLA_FFI_Buffer *argument_buffer(const XLA_FFI_CallFrame *call, int at) {
  return call->args.args[at];
}

static inline void *argument(const XLA_FFI_CallFrame *call, int at) {
  return argument_buffer(call, at)->data;
}

static inline int64_t size(const XLA_FFI_CallFrame *call, int at, int dimension) {
  return argument_buffer(call, at)->dims[dimension];
}

static inline void *result(const XLA_FFI_CallFrame *call, int at) {
  return ((XLA_FFI_Buffer *)call->rets.rets[at])->data;
}

/* Whether XLA only asks which interface this was made for, at registration. */
static inline int answers_query(XLA_FFI_CallFrame *call) {
  XLA_FFI_Extension_Base *asked = call->extension_start;
  if (!asked || asked->type != XLA_FFI_Extension_Metadata) return 0;
  XLA_FFI_Metadata *metadata = ((XLA_FFI_Metadata_Extension *)asked)->metadata;
  metadata->api_version.major_version = XLA_FFI_API_MAJOR;
  metadata->api_version.minor_version = XLA_FFI_API_MINOR;
  metadata->traits = 0;
  return 1;
}

static inline XLA_FFI_Error *failed(const XLA_FFI_CallFrame *call, const char *message) {
  XLA_FFI_Error_Create_Args made = {XLA_FFI_Error_Create_Args_STRUCT_SIZE, NULL, message,
                                    XLA_FFI_Error_Code_RESOURCE_EXHAUSTED};
  return call->api->XLA_FFI_Error_Create(&made);
}

typedef struct {
  void (*work)(const void *context, int64_t piece);
  const void *context;
  int64_t pieces;
  _Atomic int64_t next, done;
  _Atomic int64_t holders;
} Loop;

static inline void take_pieces(Loop *loop) {
  for (int64_t piece; (piece = atomic_fetch_add(&loop->next, 1)) < loop->pieces;) {
    loop->work(loop->context, piece);
    atomic_fetch_add(&loop->done, 1);
  }
}

static inline void let_go(Loop *loop, int64_t holders) {
  if (atomic_fetch_sub(&loop->holders, holders) == holders) free(loop);
}

static inline void help(void *loop) {
  take_pieces(loop);
  let_go(loop, 1);
}

static inline int64_t thread_count(const XLA_FFI_CallFrame *call) {
  int64_t threads = 1;
  XLA_FFI_ThreadPool_NumThreads_Args asked = {XLA_FFI_ThreadPool_NumThreads_Args_STRUCT_SIZE, NULL, call->ctx,
                                              &threads};
  XLA_FFI_Error *error = call->api->XLA_FFI_ThreadPool_NumThreads(&asked);
  if (!error) return threads;
  XLA_FFI_Error_Destroy_Args gone = {XLA_FFI_Error_Destroy_Args_STRUCT_SIZE, NULL, error};
  call->api->XLA_FFI_Error_Destroy(&gone);
  return 1;
}

/* Work on every piece, in any order; returns when all are done. A thread that comes late finds nothing left
   and touches neither work nor context, and none is waited for that has not begun: so full pools cannot
   deadlock. */
static inline void for_each_piece(const XLA_FFI_CallFrame *call, void (*work)(const void *, int64_t),
                                  const void *context, int64_t pieces) {
  int64_t threads = thread_count(call), helpers = (threads < pieces ? threads : pieces) - 1, begun = 0;
  Loop *loop = helpers > 0 ? malloc(sizeof(Loop)) : NULL;
  if (!loop) {
    for (int64_t piece = 0; piece < pieces; piece++) work(context, piece);
    return;
  }
  *loop = (Loop){work, context, pieces, 0, 0, helpers + 1};
  for (; begun < helpers; begun++) {
    XLA_FFI_ThreadPool_Schedule_Args asked = {XLA_FFI_ThreadPool_Schedule_Args_STRUCT_SIZE, NULL, call->ctx,
                                              help, loop};
    XLA_FFI_Error *error = call->api->XLA_FFI_ThreadPool_Schedule(&asked);
    if (!error) continue;
    XLA_FFI_Error_Destroy_Args gone = {XLA_FFI_Error_Destroy_Args_STRUCT_SIZE, NULL, error};
    call->api->XLA_FFI_Error_Destroy(&gone);
    break;
  }
  take_pieces(loop);
  while (atomic_load(&loop->done) < pieces) sched_yield(); /* others are at the last ones */
  let_go(loop, 1 + helpers - begun);
}
