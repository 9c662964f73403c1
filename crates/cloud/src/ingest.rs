//! Front door for devices: MQTT and HTTPS with the device's certificate.

mod mqtt;
