/* Layers of QAOA for XLA's foreign function interface, in the frame of `backends.engines.diagonal`.

   A state is a real and an imaginary vector over the m lowest qubits of n; m is n - 1 where only the half
   with the top qubit 0 is held. A layer passes over memory as seldom as it can: once in runs, which hold the
   lowest qubits, for the phases, these qubits and the top one; and once in pieces for every span of further
   qubits, which are a few columns of the matrix whose rows these qubits number. Runs and pieces fit a core's
   cache, and threads share them. REAL is double or float; `backends.engines.layers` says what each function
   takes and gives. */

#include <string.h>

#include "interface.h"

enum {
  LANE_BYTES = 32, /* of numbers next to each other, which differ in the lowest qubits */
  LANES = LANE_BYTES / sizeof(REAL),
  LANE_QUBITS = LANES == 8 ? 3 : 2,
  RUN_BITS = 11,       /* numbers of a run */
  PIECE_BITS = 13,     /* numbers of a piece ... */
  COLUMN_BITS_MIN = 4, /* ... and of a row of it, at least: whole cache lines */
  SPANS_MAX = 8
};

/* The arguments of a layer. */
enum { COSINES, SINES, LEVEL_OF, ROTATIONS, STATE, STRINGS };

/* Sums keep to lanes however wide the machine's vectors are: the same bytes on each. */
#if defined(__x86_64__) && defined(__GLIBC__)
#define WIDEST __attribute__((target_clones("avx2", "default")))
#else
#define WIDEST
#endif
#define UNROLLED _Pragma("GCC unroll 8")
#define INLINE static inline __attribute__((always_inline))

static int smaller(int a, int b) { return a < b ? a : b; }

static int bits_of(int64_t power) { return __builtin_ctzll((unsigned long long)power); }

static int is_odd(uint64_t mask) { return __builtin_popcountll(mask) & 1; }

/* Qubits of a run, lowest first. At least two runs, so that one and its mirror image are two. */
static int run_bits(int m) { return smaller(RUN_BITS, m - 1); }

/* The qubits from `low` up to below `high` of m. */
typedef struct {
  int m, low, high;
} Span;

static int column_bits(Span span) { return smaller(PIECE_BITS - (span.high - span.low), span.low); }

static int64_t pieces_of(Span span) {
  return (int64_t)1 << (span.m - (span.high - span.low) - column_bits(span));
}

/* Where a piece begins in its vector. */
static int64_t offset_of(Span span, int64_t piece) {
  int columns = span.low - column_bits(span);
  int64_t column = piece & (((int64_t)1 << columns) - 1);
  return ((piece >> columns) << span.high) + (column << column_bits(span));
}

/* As few spans as cover the qubits from `low` up to below m; how many. */
static int spans_of(int low, int m, Span *spans) {
  int count = (m - low + PIECE_BITS - COLUMN_BITS_MIN - 1) / (PIECE_BITS - COLUMN_BITS_MIN);
  for (int at = 0; at < count; at++) {
    int high = low + (m - low + count - at - 1) / (count - at);
    spans[at] = (Span){m, low, high};
    low = high;
  }
  return count;
}

typedef struct {
  int m, low, halved;
  const REAL *cosines, *sines, *rotations;
  const uint8_t *level_of_8;
  const uint16_t *level_of_16;
  REAL *vectors;
  REAL
      mirror_sign; /* with which a number of even parity takes its mirror image's, by the top generator ... */
  REAL to_mirror;  /* ... and by the top rotation, its sine included */
  int crosses;     /* mirror images are real for imaginary and imaginary for real */
  const REAL *parity;    /* of a run's numbers: 1 even, -1 odd */
  const REAL *hadamards; /* unnormalised, of a run's qubits */
  const int64_t *strings;
  int64_t string_count;
  REAL *found; /* by strings, the run's qubits and the top one, for every piece of work */
} Runs;

typedef struct {
  Span span;
  const REAL *rotations;
  REAL *vectors;
  int64_t left; /* numbers from a state's vector to its adjoint's; 0 where there is none */
  REAL *found;  /* by the span's qubits, for every piece */
} Sweep;

/* --- lanes: as many numbers as are worked on at once --- */

typedef REAL Lanes __attribute__((vector_size(LANE_BYTES), aligned(sizeof(REAL)), may_alias));

INLINE Lanes load(const REAL *from) { return *(const Lanes *)from; }

INLINE void store(REAL *to, Lanes lanes) { *(Lanes *)to = lanes; }

INLINE Lanes reversed(Lanes lanes) {
  Lanes turned;
  UNROLLED for (int k = 0; k < LANES; k++) turned[k] = lanes[LANES - 1 - k];
  return turned;
}

INLINE REAL added(Lanes lanes) {
  REAL total = 0;
  for (int k = 0; k < LANES; k++) total += lanes[k];
  return total;
}

/* --- one-qubit rotations --- */

INLINE void turn_one(REAL *numbers, int64_t run, const REAL *f) {
  for (int64_t k = 0; k < run; k += LANES) {
    Lanes a = load(numbers + k), b = load(numbers + run + k);
    store(numbers + k, f[0] * a + f[1] * b);
    store(numbers + run + k, f[2] * a + f[3] * b);
  }
}

INLINE void turn_two(REAL *p, int64_t run, const REAL *f, const REAL *g) {
  REAL *q = p + run, *r = q + run, *s = r + run;
  const REAL f0 = f[0], f1 = f[1], f2 = f[2], f3 = f[3], g0 = g[0], g1 = g[1], g2 = g[2], g3 = g[3];
  for (int64_t k = 0; k < run; k += LANES) {
    Lanes w = load(p + k), x = load(q + k), y = load(r + k), z = load(s + k);
    Lanes a = f0 * w + f1 * x, b = f2 * w + f3 * x, c = f0 * y + f1 * z, d = f2 * y + f3 * z;
    store(p + k, g0 * a + g1 * c);
    store(q + k, g0 * b + g1 * d);
    store(r + k, g2 * a + g3 * c);
    store(s + k, g2 * b + g3 * d);
  }
}

/* The lowest qubits, as one matrix on the lanes. */
INLINE void turn_lanes(REAL *numbers, int64_t size, const REAL *f) {
  Lanes columns[LANES];
  for (int j = 0; j < LANES; j++)
    for (int k = 0; k < LANES; k++) {
      columns[j][k] = 1;
      for (int q = 0; q < LANE_QUBITS; q++) columns[j][k] *= f[4 * q + 2 * (k >> q & 1) + (j >> q & 1)];
    }
  for (int64_t at = 0; at < size; at += LANES) {
    Lanes sum = columns[0] * numbers[at];
    UNROLLED for (int j = 1; j < LANES; j++) sum += columns[j] * numbers[at + j];
    store(numbers + at, sum);
  }
}

/* `count` qubits, the first of which pairs numbers `run` apart; those within lanes where run is 1. */
INLINE void turn_all(REAL *numbers, int64_t size, int64_t run, const REAL *f, int count) {
  int q = 0;
  if (run == 1) {
    turn_lanes(numbers, size, f);
    q = LANE_QUBITS;
    run = LANES;
  }
  for (; q + 1 < count; q += 2, run *= 4)
    for (int64_t at = 0; at < size; at += 4 * run) turn_two(numbers + at, run, f + 4 * q, f + 4 * q + 4);
  if (q < count)
    for (int64_t at = 0; at < size; at += 2 * run) turn_one(numbers + at, run, f + 4 * q);
}

/* --- <left| G |right> of a qubit, G = [[0, -1], [1, 0]], which rotations of any qubit leave as it is --- */

INLINE void pair_one(const REAL *right, const REAL *left, int64_t size, int64_t run, REAL *found) {
  Lanes sum = {0};
  for (int64_t base = 0; base < size; base += 2 * run)
    for (int64_t k = base; k < base + run; k += LANES)
      sum += load(left + k + run) * load(right + k) - load(left + k) * load(right + k + run);
  found[0] += added(sum);
}

INLINE void pair_two(const REAL *right, const REAL *left, int64_t size, int64_t run, REAL *found) {
  Lanes first = {0}, second = {0};
  for (int64_t base = 0; base < size; base += 4 * run)
    for (int64_t k = base; k < base + run; k += LANES) {
      const REAL *p = right + k, *t = left + k;
      Lanes a = load(p), b = load(p + run), c = load(p + 2 * run), d = load(p + 3 * run);
      Lanes e = load(t), f = load(t + run), g = load(t + 2 * run), h = load(t + 3 * run);
      first += (f * a - e * b) + (h * c - g * d);
      second += (g * a - e * c) + (h * b - f * d);
    }
  found[0] += added(first);
  found[1] += added(second);
}

INLINE void pair_lanes(const REAL *right, const REAL *left, int64_t size, REAL *found) {
  Lanes products[LANES]; /* of each left lane with every right one */
  memset(products, 0, sizeof products);
  for (int64_t at = 0; at < size; at += LANES)
    UNROLLED for (int j = 0; j < LANES; j++) products[j] += left[at + j] * load(right + at);
  for (int q = 0; q < LANE_QUBITS; q++)
    for (int j = 0; j < LANES; j++)
      found[q] += j >> q & 1 ? products[j][j ^ 1 << q] : -products[j][j ^ 1 << q];
}

INLINE void pair_all(const REAL *right, const REAL *left, int64_t size, int64_t run, REAL *found, int count) {
  int q = 0;
  if (run == 1) {
    pair_lanes(right, left, size, found);
    q = LANE_QUBITS;
    run = LANES;
  }
  for (; q + 1 < count; q += 2, run *= 4) pair_two(right, left, size, run, found + q);
  if (q < count) pair_one(right, left, size, run, found + q);
}

/* --- spans of qubits --- */

INLINE void copy_rows(REAL *to, int64_t to_stride, const REAL *from, int64_t from_stride, int64_t rows,
                      int64_t columns) {
  for (int64_t row = 0; row < rows; row++, to += to_stride, from += from_stride)
    memcpy(to, from, columns * sizeof(REAL));
}

WIDEST static void sweep_piece(const void *context, int64_t at) {
  const Sweep *sweep = context;
  Span span = sweep->span;
  int64_t pieces = pieces_of(span), offset = ((at / pieces) << span.m) + offset_of(span, at % pieces);
  int count = span.high - span.low, sides = sweep->left ? 2 : 1;
  int64_t rows = (int64_t)1 << count, columns = (int64_t)1 << column_bits(span),
          stride = (int64_t)1 << span.low;
  REAL held[2][1 << PIECE_BITS] __attribute__((aligned(64)));
  for (int side = 0; side < sides; side++)
    copy_rows(held[side], columns, sweep->vectors + offset + side * sweep->left, stride, rows, columns);
  if (sweep->left) {
    REAL *found = sweep->found + at * count;
    memset(found, 0, count * sizeof(REAL));
    pair_all(held[0], held[1], rows * columns, columns, found, count);
  }
  for (int side = 0; side < sides; side++) {
    turn_all(held[side], rows * columns, columns, sweep->rotations + 4 * span.low, count);
    copy_rows(sweep->vectors + offset + side * sweep->left, stride, held[side], columns, rows, columns);
  }
}

/* --- runs --- */

/* The phases of a run: where they are, or taken from their table into `held`. */
INLINE const REAL *phases(const Runs *runs, const REAL *table, int64_t start, REAL *held) {
  int64_t size = (int64_t)1 << runs->low;
  if (runs->level_of_8)
    for (int64_t k = 0; k < size; k++) held[k] = table[runs->level_of_8[start + k]];
  else if (runs->level_of_16)
    for (int64_t k = 0; k < size; k++) held[k] = table[runs->level_of_16[start + k]];
  else
    return table + start;
  return held;
}

INLINE void turn_phases(REAL *re, REAL *im, const REAL *cosines, const REAL *sines, int64_t size) {
  for (int64_t k = 0; k < size; k += LANES) {
    Lanes c = load(cosines + k), s = load(sines + k), a = load(re + k), b = load(im + k);
    store(re + k, c * a + s * b);
    store(im + k, c * b - s * a);
  }
}

/* The top qubit's rotation, which couples a run with its mirror image, in which numbers stand the other way
 * round. */
INLINE void mirror(REAL *run, REAL *image, const REAL *parity, int64_t size, REAL c, REAL to_run,
                   REAL to_image) {
  for (int64_t k = 0; k < size; k += LANES) {
    REAL *there = image + size - LANES - k;
    Lanes a = load(run + k), b = reversed(load(there)), sign = load(parity + k);
    store(run + k, c * a + to_run * sign * b);
    store(there, reversed(c * b + to_image * sign * a));
  }
}

/* What the top qubit's generator makes of `right` there, times `left`. */
INLINE REAL pair_mirror(const REAL *right, const REAL *right_image, const REAL *left, const REAL *left_image,
                        const REAL *parity, int64_t size, REAL to_run, REAL to_image) {
  Lanes sum = {0};
  for (int64_t k = 0; k < size; k += LANES) {
    int64_t there = size - LANES - k;
    Lanes taken = load(left + k) * reversed(load(right_image + there));
    Lanes given = reversed(load(left_image + there)) * load(right + k);
    sum += load(parity + k) * (to_run * taken + to_image * given);
  }
  return added(sum);
}

/* The signs with which a run takes its mirror image's numbers, and gives it its own, for each of the two
 * vectors. */
typedef struct {
  REAL to_run[2], to_image[2];
} Signs;

INLINE Signs signs_of(const Runs *runs, int64_t run, int64_t image, REAL size) {
  REAL to_run = is_odd(run) ? -size : size, to_image = is_odd(image) != (runs->low & 1) ? -size : size;
  if (!runs->crosses) return (Signs){{to_run, to_run}, {to_image, to_image}};
  /* real takes minus imaginary, imaginary takes real */
  return (Signs){{-to_run, to_run}, {to_image, -to_image}};
}

WIDEST static void apply_run(const void *context, int64_t at) {
  const Runs *runs = context;
  int64_t size = (int64_t)1 << runs->low, mirrored = ((int64_t)1 << (runs->m - runs->low)) - 1 - at;
  int64_t run[2] = {at, mirrored};
  REAL held[2][1 << RUN_BITS];
  for (int side = 0; side <= runs->halved; side++) {
    REAL *re = runs->vectors + run[side] * size, *im = re + ((int64_t)1 << runs->m);
    const REAL *c = phases(runs, runs->cosines, run[side] * size, held[0]);
    const REAL *s = phases(runs, runs->sines, run[side] * size, held[1]);
    turn_phases(re, im, c, s, size);
    turn_all(re, size, 1, runs->rotations, runs->low);
    turn_all(im, size, 1, runs->rotations, runs->low);
  }
  if (!runs->halved) return;
  REAL cosine = runs->rotations[4 * runs->m];
  Signs signs = signs_of(runs, at, mirrored, runs->to_mirror);
  for (int part = 0; part < 2; part++) {
    REAL *here = runs->vectors + ((int64_t)part << runs->m) + at * size;
    REAL *there = runs->vectors + ((int64_t)(part ^ runs->crosses) << runs->m) + mirrored * size;
    mirror(here, there, runs->parity, size, cosine, signs.to_run[part], signs.to_image[part]);
  }
}

/* The inverse of the top qubit's rotation on state and adjoint; what the generator makes of the state there,
   times the adjoint. */
INLINE REAL undo_top(const Runs *runs, int64_t run, int64_t image) {
  int64_t size = (int64_t)1 << runs->low, vector = (int64_t)1 << runs->m;
  REAL cosine = runs->rotations[4 * runs->m], total = 0;
  Signs paired = signs_of(runs, run, image, runs->mirror_sign),
        turned = signs_of(runs, run, image, runs->to_mirror);
  for (int part = 0; part < 2; part++) {
    REAL *right = runs->vectors + part * vector + run * size, *left = right + 2 * vector;
    REAL *right_image = runs->vectors + (part ^ runs->crosses) * vector + image * size;
    REAL *left_image = right_image + 2 * vector;
    REAL to_run = paired.to_run[part], to_image = paired.to_image[part];
    total += pair_mirror(right, right_image, left, left_image, runs->parity, size, to_run, to_image);
    mirror(right, right_image, runs->parity, size, cosine, turned.to_run[part], turned.to_image[part]);
    mirror(left, left_image, runs->parity, size, cosine, turned.to_run[part], turned.to_image[part]);
  }
  return total;
}

/* Phases back, and what a run adds to the derivatives by the strings' angles. */
INLINE void undo_phases(const Runs *runs, int64_t run, REAL *found) {
  int64_t size = (int64_t)1 << runs->low, vector = (int64_t)1 << runs->m;
  REAL *re = runs->vectors + run * size, *im = re + vector;
  REAL *adjoint_re = im + vector, *adjoint_im = adjoint_re + vector;
  REAL held[2][1 << RUN_BITS];
  for (int64_t k = 0; k < size; k += LANES)
    store(held[0] + k, load(adjoint_re + k) * load(im + k) - load(adjoint_im + k) * load(re + k));
  turn_all(held[0], size, 1, runs->hadamards, runs->low);
  for (int64_t r = 0; r < runs->string_count; r++) {
    REAL value = held[0][runs->strings[r] & (size - 1)];
    found[r] += is_odd(run & (runs->strings[r] >> runs->low)) ? -value : value;
  }
  const REAL *c = phases(runs, runs->cosines, run * size, held[0]);
  const REAL *s = phases(runs, runs->sines, run * size, held[1]);
  turn_phases(re, im, c, s, size);
  turn_phases(adjoint_re, adjoint_im, c, s, size);
}

WIDEST static void undo_run(const void *context, int64_t at) {
  const Runs *runs = context;
  int64_t size = (int64_t)1 << runs->low, vector = (int64_t)1 << runs->m;
  int64_t run[2] = {at, vector / size - 1 - at}, each = runs->string_count + runs->low + 1;
  REAL *found = runs->found + at * each, *by_qubit = found + runs->string_count;
  memset(found, 0, each * sizeof(REAL));
  for (int side = 0; side <= runs->halved; side++) {
    REAL *state = runs->vectors + run[side] * size;
    for (int part = 0; part < 2; part++)
      pair_all(state + part * vector, state + (part + 2) * vector, size, 1, by_qubit, runs->low);
    for (int part = 0; part < 4; part++) turn_all(state + part * vector, size, 1, runs->rotations, runs->low);
  }
  if (runs->halved) by_qubit[runs->low] = undo_top(runs, run[0], run[1]);
  for (int side = 0; side <= runs->halved; side++) undo_phases(runs, run[side], found);
}

/* --- layers --- */

typedef struct {
  REAL parity[1 << RUN_BITS], hadamards[4 * RUN_BITS];
} Tables;

static Runs runs_of(const XLA_FFI_CallFrame *call, Tables *tables) {
  int n = (int)size(call, ROTATIONS, 0), m = bits_of(size(call, STATE, 1)), low = run_bits(m);
  for (int64_t k = 0; k < 1 << low; k++) tables->parity[k] = is_odd(k) ? -1 : 1;
  for (int q = 0; q < 4 * low; q++) tables->hadamards[q] = q % 4 == 3 ? -1 : 1;
  const REAL *rotations = argument(call, ROTATIONS);
  int has_table = size(call, LEVEL_OF, 0) > 0,
      bytes = argument_buffer(call, LEVEL_OF)->dtype == XLA_FFI_DataType_U8 ? 1 : 2;
  REAL sign = (n + n / 2) % 2 ? -1 : 1;
  return (Runs){
      .m = m,
      .low = low,
      .halved = m < n,
      .cosines = argument(call, COSINES),
      .sines = argument(call, SINES),
      .rotations = rotations,
      .level_of_8 = has_table && bytes == 1 ? argument(call, LEVEL_OF) : NULL,
      .level_of_16 = has_table && bytes == 2 ? argument(call, LEVEL_OF) : NULL,
      .vectors = result(call, 0),
      .to_mirror = sign * rotations[4 * (n - 1) + 2],
      .mirror_sign = sign,
      .crosses = n % 2,
      .parity = tables->parity,
      .hadamards = tables->hadamards,
  };
}

/* XLA gives the result the argument's place; should it not, it is filled here. */
INLINE void begin(const XLA_FFI_CallFrame *call) {
  if (result(call, 0) != argument(call, STATE))
    memcpy(result(call, 0), argument(call, STATE),
           size(call, STATE, 0) * size(call, STATE, 1) * sizeof(REAL));
}

static XLA_FFI_Error *apply_layer(const XLA_FFI_CallFrame *call) {
  begin(call);
  Tables tables;
  Runs runs = runs_of(call, &tables);
  for_each_piece(call, apply_run, &runs, (int64_t)1 << (runs.m - runs.low - runs.halved));
  Span spans[SPANS_MAX];
  int count = spans_of(runs.low, runs.m, spans);
  for (int at = 0; at < count; at++) {
    Sweep sweep = {spans[at], runs.rotations, runs.vectors, 0, NULL};
    for_each_piece(call, sweep_piece, &sweep, 2 * pieces_of(spans[at]));
  }
  return NULL;
}

/* The sums over pieces of what each found, `count` numbers of them. */
static void sum(const REAL *found, int64_t pieces, int64_t count, REAL *sums) {
  for (int64_t k = 0; k < count; k++) {
    sums[k] = 0;
    for (int64_t piece = 0; piece < pieces; piece++) sums[k] += found[piece * count + k];
  }
}

static XLA_FFI_Error *undo_layer(const XLA_FFI_CallFrame *call) {
  begin(call);
  Tables tables;
  Runs runs = runs_of(call, &tables);
  runs.strings = argument(call, STRINGS);
  runs.string_count = size(call, STRINGS, 0);
  int64_t units = (int64_t)1 << (runs.m - runs.low - runs.halved), each = runs.string_count + runs.low + 1,
          most = units * each;
  Span spans[SPANS_MAX];
  int count = spans_of(runs.low, runs.m, spans);
  for (int at = 0; at < count; at++) {
    int64_t needed = 2 * pieces_of(spans[at]) * (spans[at].high - spans[at].low);
    most = most < needed ? needed : most;
  }
  REAL *found = malloc((most + each) * sizeof(REAL)), *sums = found + most, *derivatives = result(call, 1);
  if (!found) return failed(call, "no memory for the derivatives of pieces");
  for (int at = 0; at < count; at++) {
    Sweep sweep = {spans[at], runs.rotations, runs.vectors, (int64_t)2 << runs.m, found};
    int64_t pieces = 2 * pieces_of(spans[at]);
    for_each_piece(call, sweep_piece, &sweep, pieces);
    sum(found, pieces, spans[at].high - spans[at].low, derivatives + runs.string_count + spans[at].low);
  }
  runs.found = found;
  for_each_piece(call, undo_run, &runs, units);
  sum(found, units, each, sums);
  memcpy(derivatives, sums, (each - 1) * sizeof(REAL));
  if (runs.halved) derivatives[runs.string_count + runs.m] = sums[each - 1];
  free(found);
  return NULL;
}

/* (cosines, sines: of every level, or of every basis state; level_of (2^m) uint8 or uint16, or (0);
   rotations (n, 2, 2); state (2, 2^m)) -> the state after phases and rotations, in its place. */
XLA_FFI_Error *shotwise_apply_layer(XLA_FFI_CallFrame *call) {
  return answers_query(call) ? NULL : apply_layer(call);
}

/* (the same of the inverse layer; both (4, 2^m): state, then adjoint; strings (r) int64 masks of the m
   qubits)
   -> (both before the layer, in their place; derivatives by every string's angle and every rotation's (r +
   n)). */
XLA_FFI_Error *shotwise_undo_layer(XLA_FFI_CallFrame *call) {
  return answers_query(call) ? NULL : undo_layer(call);
}
