"""What AWS delivers: layouts, manifests, names and schemas. Pure, through the `Files` port."""
