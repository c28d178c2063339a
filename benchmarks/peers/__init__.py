"""The same model behind other people's model servers."""
