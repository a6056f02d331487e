"""How a team runs Shotwise: the services of one machine, Prefect's deployments, and templates for many machines."""
