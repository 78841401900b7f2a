"""Files from elsewhere: published checkpoints, embeddings, single-file bases; looking into our own packages."""
