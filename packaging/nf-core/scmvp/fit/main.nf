process SCMVP_FIT {
    tag "$meta.id"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "${ workflow.containerEngine == 'singularity' && !task.ext.singularity_pull_docker_container ?
        'https://depot.galaxyproject.org/singularity/scmvp:0.1.0--pyhdfd78af_0' :
        'biocontainers/scmvp:0.1.0--pyhdfd78af_0' }"

    input:
    tuple val(meta), path(cells)

    output:
    tuple val(meta), path("${prefix}/latent.csv")  , emit: latent
    tuple val(meta), path("${prefix}/clusters.csv"), emit: clusters
    tuple val(meta), path("${prefix}/history.csv") , emit: history
    tuple val(meta), path("${prefix}/summary.json"), emit: summary
    tuple val(meta), path("${prefix}/model")       , emit: model
    path "versions.yml"                            , emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    scmvp fit \\
        $cells \\
        --out $prefix \\
        --threads $task.cpus \\
        $args

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        scmvp: \$(scmvp --version | sed 's/scmvp //')
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir -p $prefix/model
    touch $prefix/latent.csv $prefix/clusters.csv $prefix/history.csv $prefix/summary.json

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        scmvp: \$(scmvp --version | sed 's/scmvp //')
    END_VERSIONS
    """
}
