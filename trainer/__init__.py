"""Everything that is torch: the recipes, the engine that samples, and the policy server."""
