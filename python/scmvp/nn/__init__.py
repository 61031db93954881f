"""The generative model on tensors: minibatches, networks, likelihoods, loss."""
