"""Where bytes go. The protocol is `streamh5.sinks.base.Sink`."""
