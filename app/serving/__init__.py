"""Pages of models, deployments and the playground."""
