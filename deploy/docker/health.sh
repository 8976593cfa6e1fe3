#!/bin/bash
# Healthy if the port of this container answers; of HTTP, with 200.  usage: health.sh PORT [PATH]
exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
[[ -n ${2-} ]] || exit 0
printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&3
read -r -t 3 _ status _ <&3
[[ $status == 200 ]]
