"""One file per revision; `stores.admin.REVISIONS` names them in order."""
