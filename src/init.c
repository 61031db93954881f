#include "scmvp.h"
#include <R_ext/Rdynload.h>
#include <R_ext/Visibility.h>

#define ROUTINE(NAME, N) {#NAME, (DL_FUNC)&NAME, N}

static const R_CallMethodDef routines[] = {
  ROUTINE(scmvp_group_values, 7), ROUTINE(scmvp_covariance, 3),    ROUTINE(scmvp_window_glasso, 2),
  ROUTINE(scmvp_edges_vanish, 5), ROUTINE(scmvp_window_pairs, 7),  ROUTINE(scmvp_reconcile, 4),
  ROUTINE(scmvp_both_directions, 4), {NULL, NULL, 0}};

void attribute_visible R_init_scMVP(DllInfo *dll) {
  R_registerRoutines(dll, NULL, routines, NULL, NULL);
  R_useDynamicSymbols(dll, FALSE);
  R_forceSymbols(dll, TRUE);
}
