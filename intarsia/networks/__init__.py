"""The networks: modules that take plain numbers and know no recipe. VAEs have `encode` and `decode` beside `forward`."""
