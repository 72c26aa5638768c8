"""How a scene is cut into tiles, read in strips and blended again."""
