"""What is reasoned about: stacks, their catalogue, the transition relation, units."""
