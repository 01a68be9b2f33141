#!/usr/bin/env bash
exec java -cp '/opt/kafka/libs/*' -Dlog4j2.configurationFile=/etc/kafka/docker/log4j2.properties org.apache.kafka.tools.BrokerApiVersionsCommand "$@"
