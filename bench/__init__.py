"""Rates of Interlock as ratios: each program measures contenders side by side in one run, and prints one table."""
