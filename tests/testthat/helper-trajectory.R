# Points whose order is known.

# Along a line in five dimensions.
line_points <- function(n = 300, seed = 1) {
  with_seed(seed, {
    place <- stats::runif(n, 0, 10)
    points <- cbind(place, matrix(stats::rnorm(4 * n, sd = 0.1), n))
    dimnames(points) <- list(paste0("cell", seq_len(n)), paste0("scMVP_", 1:5))
    list(points = points, place = place)
  })
}

# Along a Y, which parts at 5.
fork_points <- function(n = 600, seed = 2) {
  with_seed(seed, {
    place <- stats::runif(n, 0, 10)
    side <- sample(c(-1, 1), n, replace = TRUE)
    aside <- pmax(place - 5, 0) * side
    points <- cbind(pmin(place, 5), aside, matrix(stats::rnorm(3 * n, sd = 0.1), n))
    dimnames(points) <- list(paste0("cell", seq_len(n)), NULL)
    part <- ifelse(place < 5, "trunk", ifelse(side < 0, "left", "right"))
    list(points = points, place = place, part = part)
  })
}

# A Seurat object of these cells with the points as reduction and counts that follow their place.
line_object <- function() {
  line <- line_points()
  n <- nrow(line$points)
  counts <- with_seed(3, rbind(
    rising = stats::rpois(n, 0.5 + line$place), falling = stats::rpois(n, 10 - line$place),
    matrix(stats::rpois(18 * n, 3), 18)
  ))
  dimnames(counts) <- list(c("rising", "falling", paste0("flat", 1:18)), rownames(line$points))
  object <- SeuratObject::CreateSeuratObject(methods::as(counts, "CsparseMatrix"))
  object[["scmvp"]] <- SeuratObject::CreateDimReducObject(
    embeddings = line$points, key = "scMVP_", assay = "RNA", global = TRUE
  )
  object$place <- line$place
  object$hour <- cut(line$place, c(-1, 3, 6, 11), labels = c("0h", "1h", "3h"))
  object
}
