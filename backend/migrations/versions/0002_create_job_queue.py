"""Create the job queue: Procrastinate's own schema, of the version that is locked.

Revises: 0001_create_tables
"""

from alembic import op
from procrastinate.schema import SchemaManager

revision = "0002_create_job_queue"
down_revision = "0001_create_tables"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SchemaManager.get_schema().replace("%", "%%"))


def downgrade() -> None:
    raise NotImplementedError("the job queue is dropped with its database")
