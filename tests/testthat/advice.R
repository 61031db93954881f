# Of every message: the test that follows its advice, or why none need. A message is named by a part
# of it, as test-advice.R reads it from the code, with {} for what is computed.

of <- function(follows, ...) stats::setNames(rep(follows, ...length()), c(...))

c(
  of(
    "test-multiassay.R: values of a MultiAssayExperiment that name no cells are refused",
    "has no names, so it must have one value for each of the", "has no names, and rows of colData"
  ),
  of(
    "test-refusals.R: genes that are named as peaks are told, where no others are left",
    "holds no genomic ranges, and no other"
  ),
  of(
    "test-ReadSCMVP.R: a file of one modality is an object, a query, or fitted on request",
    "modalities is for one sample without a name"
  ),
  of(
    "test-ImputeSCMVP.R: an assay that was made one of Seurat 5 is extended as well",
    "holds values on disk, to which no others"
  ),
  of(
    "test-refusals.R: names that are missing are refused, whatever holds the counts",
    "has no row names but a column of text", "needs row names ({}) and column names (cells)."
  ),
  of(
    "test-refusals.R: features and cells without a name are refused",
    "some {} are NA or empty", "some cell names {} are NA or empty"
  ),
  of(
    "test-DifferentialSCMVP.R: wrong groups are refused",
    "contains NA, but cells without a label"
  ),
  of(
    "test-model.R: a folder that holds another model by now is not taken for that of the object",
    "now holds another model than the object"
  ),
  of(
    "test-model.R: a fit whose model.file cannot be written keeps its model",
    "so the model is kept in the object"
  ),
  of(
    "tells what was done; there is nothing to do",
    "the saved model has the clusters of the fit", "the measured peaks lack {} ({})",
    "so the imputed assay has no counts, motifs or metadata of peaks",
    "lfc_model uses the latent from", "no link within the region has a score above",
    "left out, without counts"
  ),
  of(
    "test-LinkPeaksLASSO.R: cells in which genes or peaks were not measured are left out",
    "no cell has counts of both genes and peaks", "no group has a cell with counts of"
  ),
  of(
    "test-LinkPeaksLASSO.R: imputed assays that merge() has taken the mark from are still imputed",
    "merge() does not keep whether the imputed {} are logarithms"
  ),
  of(
    "test-covariates.R: what is no batch is refused before anything is computed",
    "batch must be a vector or factor with one value", "some names of batch are missing",
    "batch names some cells twice"
  ),
  of(
    "test-LinkPeaksLASSO.R: fewer groups than folds are refused, as many are folds of their own",
    "folds = \"block\" needs at least nfolds ="
  ),
  of(
    "nothing helps but other values",
    "given more than once: name each cell once", "is the name of a reduction: choose"
  ),
  of(
    "test-FeaturesAlongSCMVP.R: cells of one pseudotime may be in any order", "holds text (such as"
  ),
  of(
    "test-ClassifyCRE.R: coordinates may be factors, and begin before they end",
    "must hold base pairs as numbers, not", "is the smaller coordinate on both strands"
  ),
  of(
    "test-ClassifyCRE.R: links are classified by the peaks at their ends",
    "of peaks on two chromosomes", "ccans must be a data frame with columns Peak"
  ),
  of(
    "test-LinkPeaksLASSO.R: a gene with starts on both strands has the nearest one",
    "(are collinear): leave out"
  ),
  of(
    "test-matrices.R: features that become one name in Seurat are told apart, or refused",
    "are one name in a Seurat object"
  ),
  of(
    "test-TransferLabelsSCMVP.R: the latent of another model does not calibrate",
    "is the latent of another model than reduction"
  ),
  of(
    "test-CREEnrichment.R: wrong input is refused in one sentence",
    "none of {} ({}) lies, with flank"
  ),
  of(
    "tells what was done; there is nothing to do",
    "which the model was fitted to, is not in the object: the counts of"
  ),
  of(
    "test-fits.R: what is left of the latent that a fit replaces is told",
    "of the latent that this one replaces; run"
  ),
  of(
    "nothing helps but other values",
    "the matrix of {} has no rows", "column coaccess of connections must be numbers",
    "groups has missing values", "the matrix of activities must be numeric",
    "has one component, so there is no tree"
  ),
  of(
    "test-methylation.R: methylation that makes no sense is refused, and what is advised works",
    "no methylation found: {} needs two assays", "methylation must be a list of two matrices",
    "are not of the same regions and cells",
    "has more methylated than covered positions"
  ),
  of(
    "test-proteins.R: proteins that are not there are refused",
    "but there are no proteins: name their"
  ),
  of(
    "test-modalities.R: modalities that make no sense are refused",
    "object is a matrix, but modalities has", "modalities must be some of",
    "is given, but modalities has no"
  ),
  of(
    "test-modalities.R: RNA and proteins are imputed, tested and reported without peaks",
    "is given, but the model was fitted to", "the model has no {}, as it was fitted to",
    "the model was fitted to {}: leave {} out"
  ),
  of(
    "test-RunMotifSCMVP.R: what cannot be scored is refused",
    "the peaks have no motifs: give motifs", "motifs must be a matrix (peaks x motifs)",
    "motifs needs names of peaks", "gc must be numbers with the names of peaks",
    "the counts of the peaks are not in the object", "batch is for imputed values"
  ),
  of(
    "test-RunMotifSCMVP.R: a new fit says which activities were of the one before",
    "of the model that this one replaces"
  ),
  of(
    "test-RankMotifsSCMVP.R: what cannot be ranked is refused, and what is advised works",
    "group.by is needed for a matrix", "be a matrix of z-scores (motifs x cells), not",
    "holds no assays: give the matrix of z-scores",
    "run RunMotifSCMVP() first, or name its result", "genes must be text with the names"
  ),
  of(
    "test-RankMotifsSCMVP.R: activities that merge() has left unmarked are no RNA",
    "has lost its scMVP record, because merge()"
  ),
  of(
    "test-RankMotifsSCMVP.R: what cannot be correlated is refused, and what is advised works",
    "expression (genes x cells) is needed", "holds activities of another fit",
    "expression must be a matrix, genes x cells", "not in the object: give expression"
  ),
  of(
    "test-RankMotifsSCMVP.R: what cannot be joined is refused, and what is advised works",
    "links must be a data frame with columns gene", "links has no rows",
    "factors must be names of transcription factors"
  ),
  of(
    paste0("test-GeneActivitySCMVP.R: cells projected without peaks, or without genes, need ",
      "coordinates of genes"),
    "the object has no peak assay, which would hold the links"
  ),
  of(
    "test-GeneActivitySCMVP.R: what cannot be summed is refused",
    "gene.coords is needed for a scMVPFit"
  ),
  of(
    "test-ReportSCMVP.R: what a report cannot show is refused, and no file is made",
    "name a two-dimensional reduction with all of them"
  ),
  of(
    "test-ClusterSCMVP.R: a level that there is not is refused",
    "give one of them", "it is from an earlier version"
  ),
  of(
    "test-DoubletScoreSCMVP.R: what cannot be scored is refused",
    "but the object has no counts of {}: {}"
  ),
  of(
    "test-advice.R: a MultiAssayExperiment is cut as it is written, whatever its sample map",
    "the two experiments do not hold the same cells"
  ),
  of(
    "test-advice.R: a query is given what it lacks, or less is asked of it",
    "{, or lower min.shared}", "give them, or another modality"
  ),
  of(
    "test-advice.R: a query of another model is embedded by the call that is written",
    "reference and query were embedded by different"
  ),
  of(
    "test-advice.R: a reduction that is not there is made, or another one is named",
    "}, or name another with {} =."
  ),
  of(
    "test-advice.R: an argument that was meant is the one that is offered",
    "unknown argument {}"
  ),
  of(
    "test-advice.R: an assay without some cells: the subset that is written",
    "take subset(object, cells = colnames(object[[\"{}\"]])){"
  ),
  of(
    "test-advice.R: assays that are named are taken",
    "holds genomic ranges: name the {} with {}", "{} and {} are both '{}': name two",
    "the object has no {} '{}' ({}); its {}s are",
    "; add such an {}, or name it with", "}): name one with {} =."
  ),
  of(
    "test-advice.R: batches of a query and of every cell are given as it is written",
    "with the cells' names or in their order", "give every cell its batch",
    "add the batch of each cell as a column", "give those of the query's cells with batch ="
  ),
  of(
    "test-advice.R: counts that are not in the object: what is written",
    "the counts of the {} are not in the object: {}", "with measured =.",
    "by whose total they are compared: give all"
  ),
  of(
    "test-advice.R: each way out of max.gb is one",
    ", dense), more than max.gb", "raise the threshold, ask for fewer",
    "before compression), more than"
  ),
  of(
    "test-advice.R: experiments and assays that are named are taken",
    "which the model was fitted to: put it back.| (its assays",
    "that scMVP did not make: choose another"
  ),
  of(
    "test-advice.R: experiments with other cells: those that both have",
    "{give both the same cell names.|keep the {} that both have.}"
  ),
  of(
    "test-advice.R: files and folders that are in the way or missing",
    "cannot hold values on disk", "exists already: choose another, or delete it",
    "': make it first", "leave out rna.layer, peak.layer and modalities"
  ),
  of(
    "test-advice.R: genomes and ranges: what is asked for is taken",
    "or use as = \"links\"", "give the chromosomes of the same genome",
    "the table of another genome build?", "cannot be read as genomic ranges",
    "raise max.peaks, or make window smaller"
  ),
  of(
    "test-bioconductor.R: columns of cells may have any name, be runs, and stand beside matrices",
    "holds lists or matrices: choose one with a value for each cell"
  ),
  of(
    "test-advice.R: groups are named by the argument that the function has",
    "the object has no cell metadata '{}' (it has",
    "the name of a column of the cell metadata or }one"
  ),
  of(
    "test-advice.R: groups: a smaller k, more cells",
    "be made from {}: choose a smaller k", "has no meaning: lower k, or give more groups",
    "a smaller k shares less"
  ),
  of(
    "test-advice.R: links of genes: coordinates, folds, rates",
    "give coordinates = (cells x dimensions), or", "or set n.permutations above 0",
    "no gene has counts in enough cells", "or raise distance"
  ),
  of(
    "test-advice.R: matrices of cells x features are turned by the function that is named",
    "their rows have: give both as"
  ),
  of(
    "test-advice.R: names and keys that are taken: another one will do",
    "leave out cells, or use as", "leave out by, or use as", "that was not imputed from reduction",
    "already belongs to '{}': choose another", "set DefaultAssay(object) to another assay first",
    "was imputed with another {}", "(an assay, metadata column, graph or image): choose another",
    "the object already has a '{}' that was not made"
  ),
  of(
    "test-advice.R: networks of peaks: a cutoff below the largest",
    ": set coaccess_cutoff_override below that"
  ),
  of(
    "test-advice.R: objects whose fit is lost are fitted",
    "alternative experiment '", "as after cbind() of fitted objects",
    "holds no scMVP model (merge() drops it", "as after merge(merge.dr = )"
  ),
  of(
    "test-advice.R: pseudotime: made first, or its column named",
    "choose one that has them with {} =",
    "different values: a spline needs", "run RunDiffusionSCMVP() first, or name",
    "is the name of something else: choose another", "n.neighbors can be at most",
    "the coordinates of another one", "give a name, or a group together with group.by"
  ),
  of(
    "test-advice.R: repeated names are told apart as it is said, each kind in its own way",
    "duplicated {}: {}; {keep each range once", "duplicated cell names"
  ),
  of(
    "test-advice.R: shared cells, or all of them with mosaic = TRUE",
    "do not hold the same cells: {}; keep the"
  ),
  of(
    "test-advice.R: the command that installs a package is one, from where it is",
    "needs the package {}: "
  ),
  of(
    "test-advice.R: the distance parameter: given, searched further, or from nearer peaks",
    "needs a distance.parameter, or scale", "or a smaller distance.constraint",
    "max.windows draws more", "ended at maxit: raise maxit"
  ),
  of(
    "test-advice.R: what is left out, lowered or turned round is taken",
    "are missing or not finite", "cannot open sparse HDF5", "check the spelling, and group.by",
    "both name {}: take", "of the matrix ({}): make it from the same cells",
    "no peak lies on a chromosome with genes", "cells are grouped first: give groups",
    "coordinates has {}, the matrix {}: give a row", "groups has {}, the matrix {}: give a row",
    "leave cells without counts out", "name the group to compare with it as ident.1",
    "give either file (all cells", "give either threshold (sparse",
    "choose another assay.name for the values on disk", "ident.1 names cells, so ident.2 must",
    "name each cell in one only", "lower threshold, or leave",
    "the reference has {}: give at least 20", "give these cells no label (NA), or another one",
    "order each part separately (keep the cells of", "is too large: give fewer features",
    "give background under the same names", "raise threshold, or lower max.peaks",
    "embed both with the same model"
  ),
  of(
    "test-DifferentialConditionsSCMVP.R: what cannot be compared is refused; as is said, it can",
    "each condition has one sample ({})", "too few samples to estimate the variation",
    "is the same in all samples: leave it out", "are confounded in these samples",
    "name the column with the sample, or donor", "covariates must have a row for each",
    "give every cell a value, or leave these cells out", "a sample is one donor under one",
    "values of covariate '{}' ({})", "no sample has min.cells", "nothing can be compared in any",
    "condition has one value", "reference must be one of the conditions"
  ),
  of(
    "test-ImputeSCMVP.R: a full disk leaves nothing, and is told as what it is",
    "a file cannot be written or read"
  ),
  of(
    paste0("test-LinkPeaksLASSO.R: Seurat objects and SingleCellExperiments give what their ",
      "matrices give"),
    "no gene annotation: give gene.coords"
  ),
  of(
    "test-LinkPeaksLASSO.R: background peaks are of other chromosomes, as accessible, none twice",
    "so no rate can be given: leave fdr out"
  ),
  of(
    "test-LinkPeaksLASSO.R: smoothing both sides warns, needs blocks, and leaves the rate out",
    "RNA and peaks are both smoothed", "would give false links: use folds"
  ),
  of(
    "test-PlotLinks.R: links of a region are arcs from center to center, as high as their score",
    "is no range such as 'chr1:1000000-1500000'"
  ),
  of(
    "test-ReadSCMVP.R: an .rds is read by R",
    "is not a readable .rds file"
  ),
  of(
    "test-ReadSCMVP.R: paths of samples that do not fit are refused",
    "for samples with names: give the path of this one a name",
    "objects with the same peaks are joined with merge()", "must be different for each sample"
  ),
  of(
    paste0("test-RunCicero.R: the ceiling is said with the number of windows; the extended s",
      "earch rises above it"),
    "finds the value."
  ),
  of(
    "test-RunCicero.R: more pairs than a data frame can hold are refused before the work",
    "lower max.peaks, or make window smaller"
  ),
  of(
    "test-RunCicero.R: a window with peaks that are the same to the last digits is said",
    "or take scale"
  ),
  of(
    "test-RunCicero.R: two workers and a BiocParallel back end give the same",
    "try workers = 1"
  ),
  of(
    "test-RunSCMVP.R: a model.file is written in the end only, and used by ImputeSCMVP()",
    "put it back, or fit again"
  ),
  of(
    "test-genes.R: a file of another kind, or a damaged one, is refused in one sentence",
    "must end in .gtf, .gff3 or .bed", "is not a readable GTF or GFF3 file"
  ),
  of(
    "test-genes.R: genes are found by the column of names that fits the object",
    "give coordinates under the same gene names"
  ),
  of(
    "test-genes.R: strands are read in every spelling, and what is not is said",
    "Write it as '+' or '-'"
  ),
  of(
    "test-matrices.R: a 10x list that was given whole is told from layers split by cells",
    "make an assay of each element of the list"
  ),
  of(
    "test-model.R: a model that cannot be written whole is not there, and nothing is left",
    "nothing else has been written there meanwhile", "check that the folder can be written to"
  ),
  of(
    "test-process.R: a worker that is killed is one sentence, and the next fit works",
    "of scMVP was killed (signal"
  ),
  of(
    paste0("test-process.R: workers of future and of BiocParallel fit at the same time, in ",
      "their own order"),
    "is a fork of one that already runs Python"
  ),
  of(
    "test-progress.R: nothing is seen without verbose, but an interrupt is told",
    "interrupted{}: nothing was changed"
  ),
  of(
    "test-python.R: SCMVP_PYTHON comes first, as interpreter or as environment",
    "no Python was found", "where there is no Python interpreter: correct or unset",
    "the Python at '{}' (found by: {}) {}: {}{}.", "does not start inside R",
    "cannot be started: {}: run install_scMVP()",
    "would make a temporary one): run install_scMVP()"
  ),
  of(
    "test-ranges.R: ranges given beside peaks are put in the order of the peaks",
    "give one range per row, in the same order"
  ),
  of(
    "a fault of the package: the advice is to report it",
    "the Python core failed"
  ),
  of(
    "a fault of the package; nothing that a user can do",
    "the Python process is closed already"
  ),
  of(
    "cells at one time have no trend",
    "nothing can change along it"
  ),
  of(
    "lower bins and higher flank are in the tests of CREEnrichment()",
    "bases around a peak's center: lower"
  ),
  of(
    "test-LinkPeaksSCMVP.R: what cannot be linked is refused",
    "links in a GRanges have one score", "fdr must be at most 1"
  ),
  of(
    "test-LinkPeaksSCMVP.R: a contact map is read from a file and from a data frame",
    "give the path of a contact map"
  ),
  of(
    "test-CalibrateLinksSCMVP.R: what cannot be calibrated is refused",
    "links must be the data frame of LinkPeaksSCMVP()", "known must be a data frame or a GRanges",
    "known needs a column gene", "known has missing values"
  ),
  of(
    "tells what is modeled",
    "without their background"
  ),
  of(
    "tells what was done; raising fdr or leaving it out gives more pairs",
    "no pair has fdr up to"
  ),
  of(
    "needs Windows",
    "Windows cannot fork"
  ),
  of(
    "needs a damaged installation",
    "the Python core is missing from the installed"
  ),
  of(
    "needs an installation over the network",
    "(on Debian and Ubuntu: install python3-venv)", "reticulate::virtualenv_remove(",
    "give one with python = and another envname", "torch cannot be imported by",
    "pip could not install", "install_scMVP() to repair the environment",
    "no Python environment for scMVP could be made"
  ),
  of(
    "needs too little memory; a fit after it is in test-process.R",
    "memory ran out in Python"
  ),
  of(
    "no pair of such peaks can have a network",
    "there are no networks"
  ),
  of(
    "says what is needed, which the tests of CREEnrichment() give",
    "links must be a list with names"
  ),
  of(
    "says what is taken; the other tests give it",
    "{} must be one path, or a vector of paths, not",
    "fragments must be TRUE, FALSE or a vector of paths",
    "object must be a Seurat object, a SingleCellExperiment, a MultiAssay",
    "must be a GRanges, a data frame with seqnames", "{} must be numeric, not {}.",
    "give counts, or imputed values that are not centered", "has no counts: scMVP needs raw counts",
    "connections must be a data frame with columns",
    "or a numeric matrix of coordinates (cells x dimensions), not",
    "coordinates must be a numeric matrix (cells x dimensions), not",
    "{} must be a matrix of counts ({} x cells)",
    "give query (a matrix of genes x cells)", "bigwig must be paths of bigWig",
    "LinkPeaksLASSO() takes a Seurat", "gene.coords is needed: a data frame",
    "BPPARAM must be a BiocParallelParam", "{} must be a matrix of counts, features x cells",
    "links as a GRanges need a numeric",
    "peaks must be a SingleCellExperiment, a SummarizedExperiment",
    "must be a data frame (gene, chromosome", "genome must give the length",
    "groups must be a matrix of cells x groups", "links must have columns Peak1",
    "must be an object that RunSCMVP() returned or a scMVP model, not class",
    "links must be a data frame of links or a list", "holds no gene.",
    "has no column of gene names (the fourth", "no range (the first is",
    "holds an object of class {}, not a Seurat", "there is nothing to embed",
    "RunCicero() takes a Seurat", "peaks must be a matrix of ATAC counts",
    "a scMVP model, not a string", "hold no count at all",
    "cannot be read as bigWig", "share no chromosome (peaks"
  ),
  of(
    "says what was found or done; there is nothing to do",
    "GC content of the peaks: column GC.percent",
    "signal of {} at", "co-accessibility cutoff", "Seurat does not allow '_'",
    "distance parameter from up to", "distance parameter {}", "models of {}", "{} of peaks",
    "removing assay '", "training in a Python process of its own", "genes are found by {",
    "{}{} left out: {}.", "{} of {} {} left out: {}.", "{}, ~ {}: {} against '{}' ({})",
    "sums of {}: {} of {} and {}", "no genome: each chromosome ends", "genome lacks {}",
    "every sum rounds to 0", "holds clusters of a fit that is not in the object",
    "differs from the clusters of the fit", "writing {} to {}", "as zero ({})", "  {}: {} % ({} s)",
    "is there; checking its packages", "Making the virtual environment",
    "Installing the other Python packages", "scMVP is ready", "Restart R to use it",
    "Installing PyTorch for the CPU", "using PyTorch from the package index",
    "Installing PyTorch{", "{} of {}", "{} of {} {} not in gene.coords and {} left out",
    "the chromosome with the most peaks is taken", "{}are fewer: fdr is NA.",
    "assay '{}' ({})", "appears to contain", "modeling {}{",
    "the ATAC counts are insertions", "without any {} count", "comparing {}: {}",
    "about {} of different kinds among {}",
    "1 group of {} cells", "in common on average", "has proteins, which are not modeled",
    "{} with {}, {}", "{} in {}; {",
    "report: {}",
    "taken to start at the lower coordinate", "the fit was interrupted after"
  ),
  of(
    "what another package cannot fit is not known before",
    "{} cannot fit group '{}' ({}): take method"
  ),
  of(
    "says which names are known; its remedies are the callers'",
    "{}: {} of {} {} not {} ({}); {}."
  ),
  of(
    "says which values are allowed; the other tests give them",
    "gene.coords is needed to know", "coaccess_cutoff_override must be between",
    "the matrix of counts needs row names, its", "a pseudotime and counts: give at least",
    "must be one number per cell", "(seqnames, start, end); it has", "with values; it has",
    "batch must be the name of a column of", "the matrix of {} needs row names ({}).",
    "batch must be a level of the model's",
    "must be one of \"{}\"", "s must be below 1", ") must be below window (",
    "covariates must be \"depth\"", "must be TRUE or FALSE",
    "lambda.sequence must be decreasing", "alpha must be at most 1",
    "match.on must be numbers named", "must be a character vector of names",
    "{a whole number|a number}",
    "must be one non-empty string", "bigwig: there is no file", "dims must be among the",
    "fdr must be below 1", "too few to order: give at least", "has no row names: scMVP needs",
    "has no column names: scMVP needs", "does not hold peaks: its features",
    "needs a column of gene names", "genome: there is no file", "gene.coords: there is no file",
    "its names are not those of the cells", "no cell belongs to a group",
    "calibration must hold the reference cells", "is not a folder with a saved model",
    "must be a valid R name (letters", "reduction.key {}, not",
    "the key of reduction.name '{}' would be",
    "folds must be \"random\"", "at least 3 folds are needed", "{}: there is no file '{}'.",
    "genome: the length of", "does not exist; check the path",
    "too many: give the arguments by their names", "there is nothing to distinguish",
    "root must be one name, where to start", "is not a group; the groups are",
    "no start can be found", "there is nothing to compare them with",
    "unassigned.below must be below 1"
  ),
  of(
    "an argument that says itself what is not there for the class, and test-refusals.R shows",
    "{} is not for {}", "{} of {} is now called", "{} cannot hold links: use as",
    "a matrix cannot hold links",
    "ranges and coordinates are for a matrix", "peaks is for two matrices: name the peaks",
    "batch is for matrices: leave it out", "a scMVPFit holds no assays",
    "rna.layer and peak.layer are for the path",
    "{} is for {}: leave it out", "{} holds no counts: give the matrix",
    "give either {} or {}, its present name", "object must be a matrix of RNA counts",
    "ident.1 is empty: name a group", "all cells have one label: there is nothing",
    "ident.1 names all groups", "it does not label cells, so name another",
    "min.shared must be at most 1", "the object has no cells: there is nothing",
    "the query has no cells to embed", "the counts are negative or not whole numbers",
    "the object already has cell metadata"
  ),
  of(
    "an object of another class says nothing of what was meant",
    "a MultiAssayExperiment, the path of a file or matrices",
    "{} takes the result of RunSCMVP(), with"
  ),
  of(
    "values without the cells that hold them, as all other tests give",
    "missing or infinite values: remove them"
  )
)
