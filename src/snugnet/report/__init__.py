"""Pictures, tables and pages drawn from run directories."""
