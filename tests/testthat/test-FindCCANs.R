# Networks of co-accessible peaks: planted communities.

planted <- function() {
  peaks <- paste0("chr1-", 1e4 * 1:12, "-", 1e4 * 1:12 + 500)
  blocks <- split(peaks, rep(1:3, each = 4))
  inside <- do.call(cbind, lapply(blocks, utils::combn, 2))
  between <- rbind(peaks[c(1, 5, 9)], peaks[c(5, 9, 1)])
  pairs <- cbind(inside, between)
  score <- c(rep(0.6, ncol(inside)), rep(0.05, ncol(between)))
  data.frame(
    Peak1 = c(pairs[1, ], pairs[2, ]), Peak2 = c(pairs[2, ], pairs[1, ]),
    coaccess = rep(score, 2)
  )
}

test_that("connections are finite", {
  connections <- data.frame(Peak1 = "chr1-1-2", Peak2 = "chr1-5-6", coaccess = Inf)
  expect_refused(FindCCANs(connections), "numbers that are finite or missing")
})

test_that("planted networks are found, with and without a cutoff", {
  skip_if_not_installed("igraph")
  connections <- planted()
  peaks <- sort(unique(connections$Peak1))
  truth <- (match(peaks, paste0("chr1-", 1e4 * 1:12, "-", 1e4 * 1:12 + 500)) - 1) %/% 4
  for (cutoff in list(0.2, NULL)) {
    ccans <- FindCCANs(connections, coaccess_cutoff_override = cutoff, verbose = FALSE)
    expect_setequal(ccans$Peak, peaks)
    member <- ccans$CCAN[match(peaks, ccans$Peak)]
    expect_identical(match(member, unique(member)), match(truth, unique(truth)))
  }
  expect_identical(attr(FindCCANs(connections, 0.2, verbose = FALSE), "cutoff"), 0.2)
})

test_that("small networks are left out, and none at all is refused", {
  skip_if_not_installed("igraph")
  connections <- planted()
  pair <- connections[1, ]
  pair$Peak1 <- "chr2-1-5"
  pair$Peak2 <- "chr2-100-105"
  ccans <- FindCCANs(rbind(connections, pair), 0.2, verbose = FALSE)
  expect_false(any(startsWith(ccans$Peak, "chr2")))
  expect_refused(FindCCANs(connections, 0.9, verbose = FALSE), "no pair .* above 0.9 .*0.6")
  expect_refused(FindCCANs(connections, 2), "between 0 and 1")
  expect_refused(FindCCANs(1), "connections must be a data frame")
})

test_that("the cutoff is that of cicero's search, which takes every step", {
  every_step <- function(count, values, digits) {
    bottom <- 0
    top <- max(values)
    while (top - bottom > 10^-digits) {
      middle <- bottom + round((top - bottom) / 2, digits + 1)
      before <- after <- count(middle)
      at <- middle
      while (after == before && at <= max(values)) {
        at <- at + (top - bottom) / 10
        after <- count(at)
      }
      if (before >= after) top <- middle else bottom <- middle
    }
    round((top + bottom) / 2, digits)
  }
  for (seed in 1:20) {
    drawn <- seeded(seed, list(values = sort(runif(30)), count = sample(4, 31, replace = TRUE)))
    count <- function(value) drawn$count[findInterval(value, drawn$values) + 1]
    for (digits in c(1, 2, 4)) {
      found <- find_ccan_cutoff(count, drawn$values, digits)
      expect_identical(found, every_step(count, drawn$values, digits))
    }
  }
})

test_that("a search for more digits than a number has ends", {
  skip_if_not_installed("igraph")
  peaks <- paste0("chr1-", 1e4 * 1:40, "-", 1e4 * 1:40 + 500)
  pairs <- utils::combn(peaks, 2)
  connections <- data.frame(
    Peak1 = pairs[1, ], Peak2 = pairs[2, ], coaccess = seeded(1, runif(ncol(pairs), 0, 0.9))
  )
  for (digits in c(10, 99)) {
    ccans <- FindCCANs(connections, tolerance_digits = digits, verbose = FALSE)
    cutoff <- attr(ccans, "cutoff")
    expect_true(cutoff > 0 && cutoff < 0.9)
    expect_identical(ccans, FindCCANs(connections, cutoff, verbose = FALSE))
  }
})

test_that("pairs count once in either direction, however many peaks there are", {
  peaks <- paste0("chr1-", 100 * 1:60000, "-", 100 * 1:60000 + 50)
  neighbors <- data.frame(
    Peak1 = c(peaks[-1], peaks[-60000]), Peak2 = c(peaks[-60000], peaks[-1]), coaccess = 0.5
  )
  pairs <- pairs_once(neighbors, seq_len(nrow(neighbors)))
  expect_identical(pairs$rows, 1:59999)
  expect_identical(pairs$peaks[pairs$one], peaks[-1])
  expect_identical(pairs$peaks[pairs$other], peaks[-60000])
})
