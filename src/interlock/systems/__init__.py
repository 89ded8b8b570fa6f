"""The other sides: one client a System, made of call layers."""
