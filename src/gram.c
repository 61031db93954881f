/* Inner products of columns, three by four of them at a time in registers. Every pair goes through
   the same instructions wherever it stands in a block, so that its value does not depend on the
   other columns: blocks at the edge are filled up with columns whose products are not kept. */
#include "scmvp.h"
#include <string.h>

#define SLAB 512 /* rows: seven columns of a slab fit the first cache */

/* Adds the products of columns a and b, n rows of them, to sum[q * 3 + p]. `VECTOR` holds `WIDTH`
   numbers. */
#define DEFINE_BLOCK(NAME, VECTOR, WIDTH, TARGET)                                                  \
  TARGET static void NAME(const double *const *a, const double *const *b, int n, double *sum) {    \
    VECTOR s00 = {0}, s01 = {0}, s02 = {0}, s03 = {0}, s10 = {0}, s11 = {0}, s12 = {0};            \
    VECTOR s13 = {0}, s20 = {0}, s21 = {0}, s22 = {0}, s23 = {0}, x0, x1, x2, y;                   \
    int row = 0;                                                                                   \
    for (; row + WIDTH <= n; row += WIDTH) {                                                       \
      memcpy(&x0, a[0] + row, sizeof(VECTOR));                                                     \
      memcpy(&x1, a[1] + row, sizeof(VECTOR));                                                     \
      memcpy(&x2, a[2] + row, sizeof(VECTOR));                                                     \
      memcpy(&y, b[0] + row, sizeof(VECTOR));                                                      \
      s00 += x0 * y, s10 += x1 * y, s20 += x2 * y;                                                 \
      memcpy(&y, b[1] + row, sizeof(VECTOR));                                                      \
      s01 += x0 * y, s11 += x1 * y, s21 += x2 * y;                                                 \
      memcpy(&y, b[2] + row, sizeof(VECTOR));                                                      \
      s02 += x0 * y, s12 += x1 * y, s22 += x2 * y;                                                 \
      memcpy(&y, b[3] + row, sizeof(VECTOR));                                                      \
      s03 += x0 * y, s13 += x1 * y, s23 += x2 * y;                                                 \
    }                                                                                              \
    const VECTOR all[12] = {s00, s10, s20, s01, s11, s21, s02, s12, s22, s03, s13, s23};           \
    for (int k = 0; k < 12; k++) {                                                                 \
      double lane[WIDTH], total = 0;                                                               \
      memcpy(lane, &all[k], sizeof(VECTOR));                                                       \
      for (int l = 0; l < WIDTH; l++) total += lane[l];                                            \
      for (int last = row; last < n; last++) total += a[k % 3][last] * b[k / 3][last];             \
      sum[k] += total;                                                                             \
    }                                                                                              \
  }

typedef void block_function(const double *const *, const double *const *, int, double *);

#if defined(__GNUC__) /* and clang */
typedef double two_numbers __attribute__((vector_size(16)));
DEFINE_BLOCK(block_any, two_numbers, 2, )
#else
DEFINE_BLOCK(block_any, double, 1, )
#endif

#if defined(__GNUC__) && defined(__x86_64__)
#define HAVE_AVX2
typedef double four_numbers __attribute__((vector_size(32)));
DEFINE_BLOCK(block_avx2, four_numbers, 4, __attribute__((target("avx2,fma"))))
#endif

static block_function *block_of_this_machine(void) {
#ifdef HAVE_AVX2
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return block_avx2;
#endif
  return block_any;
}

void inner_products(const double *x, R_xlen_t n_rows, const int *from, int n_from, const int *to,
                    int n_to, double *out) {
  block_function *add_block = block_of_this_machine();
  memset(out, 0, sizeof(double) * n_from * n_to);
  for (R_xlen_t slab = 0; slab < n_rows; slab += SLAB) {
    int n = n_rows - slab < SLAB ? (int)(n_rows - slab) : SLAB;
    for (int j = 0; j < n_to; j += 4) {
      const double *b[4];
      for (int q = 0; q < 4; q++) b[q] = x + n_rows * to[j + q < n_to ? j + q : j] + slab;
      for (int i = 0; i < n_from; i += 3) {
        const double *a[3];
        double sum[12] = {0};
        for (int p = 0; p < 3; p++) a[p] = x + n_rows * from[i + p < n_from ? i + p : i] + slab;
        add_block(a, b, n, sum);
        for (int q = 0; q < 4 && j + q < n_to; q++) {
          for (int p = 0; p < 3 && i + p < n_from; p++) {
            out[(size_t)(j + q) * n_from + i + p] += sum[q * 3 + p];
          }
        }
      }
    }
  }
}
