/* Excitations in a sector, for XLA's foreign function interface: only determinants that move are touched.

   A program's rotations are runs of pairs: starts (rows + 1), then first and second of each pair, int32. A
   rotation by an angle takes psi[i] to c psi[i] + s psi[j] and psi[j] to c psi[j] - s psi[i], c and s being
   the cosine and sine of half of it; its generator takes psi[i] to psi[j] and psi[j] to -psi[i].
   `backends.engines.native` says what each function takes and gives. */

#include <math.h>
#include <string.h>

#include "interface.h"

typedef struct {
  const int32_t *starts, *first, *second;
} Pairs;

static Pairs pairs_of(const XLA_FFI_CallFrame *call) {
  return (Pairs){argument(call, 0), argument(call, 1), argument(call, 2)};
}

static void rotate(const Pairs *pairs, int64_t row, double c, double s, double *psi) {
  for (int32_t at = pairs->starts[row]; at < pairs->starts[row + 1]; at++) {
    double *i = psi + pairs->first[at], *j = psi + pairs->second[at];
    double x = *i, y = *j;
    *i = c * x + s * y;
    *j = c * y - s * x;
  }
}

/* (pairs, angles (rows), psi (dimension)) -> psi after all rotations. */
XLA_FFI_Error *shotwise_rotate(XLA_FFI_CallFrame *call) {
  if (answers_query(call)) return NULL;
  Pairs pairs = pairs_of(call);
  const double *angles = argument(call, 3);
  int64_t rows = size(call, 3, 0);
  double *psi = result(call, 0);
  memcpy(psi, argument(call, 4), sizeof(double) * size(call, 4, 0));
  for (int64_t row = 0; row < rows; row++)
    rotate(&pairs, row, cos(angles[row] / 2), sin(angles[row] / 2), psi);
  return NULL;
}

/* (pairs, angles (rows), both (2, dimension): psi after all rotations, and H psi)
   -> (derivative of the energy by every angle (rows), both before all rotations, which is scratch). */
XLA_FFI_Error *shotwise_derivatives(XLA_FFI_CallFrame *call) {
  if (answers_query(call)) return NULL;
  Pairs pairs = pairs_of(call);
  const double *angles = argument(call, 3);
  int64_t rows = size(call, 3, 0), dimension = size(call, 4, 1);
  double *derivatives = result(call, 0), *psi = result(call, 1), *adjoint = psi + dimension;
  memcpy(psi, argument(call, 4), 2 * sizeof(double) * dimension);
  for (int64_t row = rows - 1; row >= 0; row--) {
    double c = cos(angles[row] / 2), s = sin(angles[row] / 2), total = 0.0;
    for (int32_t at = pairs.starts[row]; at < pairs.starts[row + 1]; at++) {
      int32_t i = pairs.first[at], j = pairs.second[at];
      double x = psi[i], y = psi[j], u = adjoint[i], v = adjoint[j];
      total += u * y - v * x; /* the generator commutes with its rotation */
      psi[i] = c * x - s * y;
      psi[j] = c * y + s * x;
      adjoint[i] = c * u - s * v;
      adjoint[j] = c * v + s * u;
    }
    derivatives[row] = total;
  }
  return NULL;
}

/* (pairs, angles (rows), slopes d angles / d parameters (rows, d), psi (dimension))
   -> (tangents of the state (d, dimension), the state, which is scratch). */
XLA_FFI_Error *shotwise_tangents(XLA_FFI_CallFrame *call) {
  if (answers_query(call)) return NULL;
  Pairs pairs = pairs_of(call);
  const double *angles = argument(call, 3), *slopes = argument(call, 4);
  int64_t rows = size(call, 4, 0), d = size(call, 4, 1), dimension = size(call, 5, 0);
  double *tangents = result(call, 0), *psi = result(call, 1);
  memset(tangents, 0, sizeof(double) * d * dimension);
  memcpy(psi, argument(call, 5), sizeof(double) * dimension);
  for (int64_t row = 0; row < rows; row++) {
    double c = cos(angles[row] / 2), s = sin(angles[row] / 2);
    rotate(&pairs, row, c, s, psi);
    for (int64_t parameter = 0; parameter < d; parameter++) {
      double *tangent = tangents + parameter * dimension, half = slopes[row * d + parameter] / 2;
      rotate(&pairs, row, c, s, tangent);
      if (half == 0.0) continue;
      for (int32_t at = pairs.starts[row]; at < pairs.starts[row + 1]; at++) {
        int32_t i = pairs.first[at], j = pairs.second[at];
        tangent[i] += half * psi[j];
        tangent[j] -= half * psi[i];
      }
    }
  }
  return NULL;
}

/* (starts (dimension + 1), columns, values of a sparse matrix by rows, psi (dimension)) -> its product. */
XLA_FFI_Error *shotwise_couple(XLA_FFI_CallFrame *call) {
  if (answers_query(call)) return NULL;
  const int32_t *starts = argument(call, 0), *columns = argument(call, 1);
  const double *values = argument(call, 2), *psi = argument(call, 3);
  int64_t dimension = size(call, 3, 0);
  double *product = result(call, 0);
  for (int64_t row = 0; row < dimension; row++) {
    double total = 0.0;
    for (int32_t at = starts[row]; at < starts[row + 1]; at++) total += values[at] * psi[columns[at]];
    product[row] = total;
  }
  return NULL;
}
