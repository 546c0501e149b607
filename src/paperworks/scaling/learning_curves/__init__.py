"""Learning curves: error against data, its three regions, and how much more data a target takes."""
