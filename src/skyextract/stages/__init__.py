"""The stages of the pipeline and their parts: plain functions with explicit inputs."""
