"""Discord, by its Gateway and its REST API."""
