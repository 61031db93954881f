# What a modality is to R: one entry of a table, and nothing about it elsewhere, as in the core's
# module of this name. Entries are called as parts and arguments are ("peaks").

#   core      what the core calls it
#   label     before "assay", "counts" and the like
#   feature   the word for one of its features
#   needed    what raw counts of it are of, in a refusal
#   argument  that gives its matrix beside an object
#   prefix    of arguments that name a part of an object: rna.assay, rna.experiment
#   assay     the name of its assay, and the end of that of its imputed one
#   log       whether imputed values are logged
#   of_it     arguments of a fit that make no sense without it
modality_table <- list(
  rna = list(
    core = "rna", label = "RNA", feature = "gene", needed = "genes", argument = "rna",
    prefix = "rna", assay = "RNA", log = TRUE,
    of_it = c("rna.assay", "rna.experiment", "rna.features", "impute", "impute.genes")
  ),
  peaks = list(
    core = "atac", label = "peak", feature = "peak",
    needed = "genomic ranges such as 'chr1-100-200'", argument = "peaks", prefix = "peak",
    assay = "ATAC", log = FALSE,
    of_it = c("peaks", "peak.assay", "peak.experiment", "peak.features", "impute.peaks")
  ),
  protein = list(
    core = "protein", label = "protein", feature = "protein", needed = "proteins",
    argument = "proteins", prefix = "protein", assay = "ADT", log = TRUE,
    of_it = c("proteins", "protein.assay", "protein.experiment", "impute.proteins")
  ),
  methylation = list(
    core = "methylation", label = "methylation", feature = "region",
    needed = "methylated and covered positions", argument = "methylation", prefix = "methylation",
    assay = "Methylation", log = FALSE, of_it = "methylation"
  )
)

all_kinds <- names(modality_table)

# Those with one count per feature.
counted_kinds <- setdiff(all_kinds, "methylation")

# A property of one kind, or of several.
of_kind <- function(kind, what) unname(vapply(modality_table[kind], `[[`, "", what))

is_logged <- function(kind) modality_table[[kind]]$log

# "genes", under which a model has their names.
features_of_kind <- function(kind) paste0(of_kind(kind, "feature"), "s")

# The core's name of a modality, and that of parts.
part_kind <- function(modality) {
  all_kinds[match(modality, of_kind(all_kinds, "core"))]
}

# The core's name of a modality that a user has named, as the command line and Python say it, too.
check_modality <- function(modality, known = all_kinds) {
  if (identical(modality, "atac")) modality <- "peaks"
  of_kind(check_choice(modality, known, "modality"), "core")
}

# A list without what is not there; elements may be matrices, whose length says something else.
without_nulls <- function(x) Filter(Negate(is.null), x)

# Values by kind, NULL where f() has none.
by_kind <- function(kinds, f) lapply(stats::setNames(nm = kinds), f)

# The same under the core's names of modalities.
by_core_name <- function(kinds, f) stats::setNames(lapply(kinds, f), of_kind(kinds, "core"))

# "RNA and peaks", "RNA, peaks and proteins".
listed_kinds <- function(kinds) {
  words <- ifelse(kinds == "rna", "RNA", features_of_kind(kinds))
  in_a_row(words)
}

in_a_row <- function(words) {
  n <- length(words)
  if (n < 2) words else paste(paste(words[-n], collapse = ", "), "and", words[n])
}

# What names the modalities in a call: "rna", or c("rna", "protein").
as_argument <- function(kinds) {
  quoted <- paste0("\"", kinds, "\"", collapse = ", ")
  if (length(kinds) == 1) quoted else paste0("c(", quoted, ")")
}

# The modalities to fit, in the order of the table. `frame`: of RunSCMVP().
modalities_to_fit <- function(modalities, frame) {
  if (is.null(modalities)) {
    return(modalities_by_default(frame))
  }
  modalities <- check_modalities(modalities)
  for (kind in setdiff(all_kinds, modalities)) {
    useless <- given_of(modality_table[[kind]]$of_it, frame)
    if (length(useless) > 0) {
      refuse(
        useless[1], " is given, but modalities has no \"", kind, "\": add it, or leave ",
        useless[1], " out."
      )
    }
  }
  modalities
}

# Some of the modalities, in the order of the table.
check_modalities <- function(modalities) {
  if (is.character(modalities)) modalities[modalities %in% "atac"] <- "peaks"
  if (!is.character(modalities) || length(modalities) == 0 || !all(modalities %in% all_kinds)) {
    refuse(
      "modalities must be some of ", paste0("\"", all_kinds, "\"", collapse = ", "), ", not ",
      names_in_words(modalities), "."
    )
  }
  intersect(all_kinds, modalities)
}

# RNA and peaks, and proteins and methylation where they are named.
modalities_by_default <- function(frame) {
  named <- given_of(setdiff(modality_table$protein$of_it, "impute.proteins"), frame)
  if (length(named) == 0 && isTRUE(frame$impute.proteins)) {
    refuse(
      "impute.proteins is TRUE, but there are no proteins: name their assay (protein.assay =) ",
      "or experiment (protein.experiment =), or give their matrix (proteins =)."
    )
  }
  c(
    "rna", "peaks", if (length(named) > 0) "protein",
    if (!is.null(frame$methylation)) "methylation"
  )
}

# Those of some arguments that say anything: that are not NULL, FALSE or "none".
given_of <- function(arguments, frame) {
  Filter(function(name) {
    x <- frame[[name]]
    !is.null(x) && !isFALSE(x) && !identical(x, "none")
  }, arguments)
}

# ---- of a model ----------------------------------------------------------------------------------

# The modalities of a stored model.
kinds_of_model <- function(stored) {
  text <- model_text(stored)
  listed <- regmatches(text, regexpr("\"modalities\": *\\[[^]]*\\]", text, useBytes = TRUE))
  if (length(listed) == 0) { # a model of an earlier version, or none that can be read
    return(c("rna", "peaks"))
  }
  core <- unlist(regmatches(listed, gregexpr("\"[a-z]+\"(?!:)", listed, perl = TRUE)))
  intersect(all_kinds, part_kind(gsub("\"", "", core)))
}

# From which the core embeds cells that have counts of `has`: of one of several modalities alone, by
# its own encoder.
latent_from <- function(has, kinds) {
  if (length(has) > 1 || length(kinds) == 1) "joint" else of_kind(has, "core")
}

# What is asked for must be a modality of the model.
refuse_other_model <- function(kind, kinds) {
  if (!kind %in% kinds) {
    refuse(
      "the model has no ", features_of_kind(kind), ", as it was fitted to ", listed_kinds(kinds),
      ": fit it to cells with ", features_of_kind(kind), ", too (",
      if (kind == "protein") "protein.assay = or ", "modalities = of RunSCMVP())."
    )
  }
}

# Names of the features of one kind in a model that an engine has loaded.
features_in_model <- function(model, kind) {
  has <- Filter(function(kind) !is.null(model[[features_of_kind(kind)]]), all_kinds)
  refuse_other_model(kind, has)
  model[[features_of_kind(kind)]]
}
