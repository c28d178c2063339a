"""Sort photos of returned clothes into the ten classes of Fashion-MNIST."""
