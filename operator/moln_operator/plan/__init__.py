"""What should be: pure functions from the observed state to the objects that the cluster shall hold."""
