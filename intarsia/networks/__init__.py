"""The networks: plain modules with only `forward`; they take plain numbers and know no recipe."""
