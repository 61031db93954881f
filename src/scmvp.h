/* Co-accessibility in C: what R calls, and what the files of this folder share.
   Matrices are those of R: double, column-major. Work space comes from R_alloc(), so that an
   interrupt leaves nothing behind. */
#ifndef SCMVP_H
#define SCMVP_H

#define R_NO_REMAP
#define STRICT_R_HEADERS
#include <R.h>
#include <Rinternals.h>

/* groups.c */
SEXP scmvp_group_values(SEXP values, SEXP columns, SEXP by_cell, SEXP n_groups, SEXP divisors,
                        SEXP relative_to, SEXP center);
/* windows.c */
SEXP scmvp_covariance(SEXP values, SEXP columns, SEXP ridge);
SEXP scmvp_window_glasso(SEXP covariance, SEXP rho);
SEXP scmvp_edges_vanish(SEXP covariance, SEXP position, SEXP beyond, SEXP parameter, SEXP s);
SEXP scmvp_window_pairs(SEXP values, SEXP members, SEXP columns, SEXP position, SEXP ridge,
                        SEXP parameter, SEXP s);
/* pairs.c */
SEXP scmvp_reconcile(SEXP i, SEXP j, SEXP value, SEXP n_peaks);
SEXP scmvp_both_directions(SEXP i, SEXP j, SEXP value, SEXP n_peaks);

/* gram.c: out[b][a] = inner product of columns from[a] and to[b] of x; `out` has n_from rows. */
void inner_products(const double *x, R_xlen_t n_rows, const int *from, int n_from, const int *to,
                    int n_to, double *out);

/* glasso.c: graphical lasso of n variables. S and rho are n x n and symmetric, rho is 0 on the
   diagonal. W, the estimated covariance, and theta, its inverse, are filled; either may be NULL.
   Returns 0 where it did not converge. */
int graphical_lasso(int n, const double *S, const double *rho, double *W, double *theta);
/* The connected components of pairs with |S| > rho: part[i] is the first variable of i's part. */
void screen(int n, const double *S, const double *rho, int *part);

#endif
