//! Front door for people and services: route table, problems, OpenAPI, live stream, embedded web app.
