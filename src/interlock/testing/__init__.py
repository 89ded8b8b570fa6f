"""What users test with: Lab, fakes, the simulator."""
