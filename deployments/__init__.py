"""How a team runs Shotwise: one machine's services, Prefect's deployments, templates for many machines."""
