%%% What is measured: the one list from which docs/metrics.md, Prometheus' text and the names that the sidecar may say are made.
%%%
%%% A row is a key of the maps of outrider:metrics/1: what kind of number it is, whether it comes from the sidecar or is the VM's own
%%% knowledge of it, and how Prometheus calls it. The sidecar's are counted in src/metrics.
-module(outrider_metrics_table).

-export([rows/0, limits/0, atoms/0]).
-export_type([row/0, value/0, labels/0]).

-type row() :: #{
    key := atom(),
    %% counter only grows while its sidecar lives; by is the label of a map's keys.
    type := counter | gauge | histogram,
    from := sidecar | vm,
    unit := none | bytes | microseconds,
    by => atom(),
    %% Prometheus' name, and labels that are the same for all numbers of this key.
    name := binary(),
    labels => labels(),
    help := binary()
}.
-type labels() :: [{atom(), binary()}].
%% By the label where the row has one. A histogram has its numbers by upper bound, each without those below it.
-type value() :: non_neg_integer() | #{term() => non_neg_integer()} | {histogram, Sum :: non_neg_integer(), map()}.

%% In the order of the documentation. Rows with the same name stand together.
-spec rows() -> [row()].
rows() ->
    [
        gauge(up, vm, <<"outrider_sidecar_up">>, <<"1 where the sidecar has answered in time, else 0.">>),
        counter(restarts, vm, <<"outrider_sidecar_restarts_total">>, <<"How often another OS process was started in its place.">>),
        bytes(gauge(memory_bytes, sidecar, <<"outrider_sidecar_memory_bytes">>,
            <<"Resident memory of the OS process; absent where the system does not tell.">>)),
        time(counter(cpu_us, sidecar, <<"outrider_sidecar_cpu_seconds_total">>, <<"Processor time of the OS process.">>)),
        time(#{
            key => turns, type => histogram, from => sidecar, unit => none, name => <<"outrider_loop_turn_seconds">>,
            help => <<"How long turns of the event loop took: as long waited what came meanwhile. Every other turn is timed.">>
        }),
        by(state, gauge(connections, sidecar, <<"outrider_connections">>,
            <<"Connections by state: tls_handshake, http, websocket, closing (either side has ended it). A WebSocket on a stream of HTTP/2 "
              "counts as such beside its connection.">>)),
        counter(connections_accepted, sidecar, <<"outrider_connections_accepted_total">>, <<"Connections that were accepted.">>),
        by(limit, counter(limits_reached, sidecar, <<"outrider_limit_reached_total">>,
            <<"How often a limit was reached, by the option's name: for a pause of accepting once, for a refused stream or "
              "request, else for each client. enhance_your_calm is of HTTP/2, for what no option bounds.">>)),
        by(kind, gauge(streams, vm, <<"outrider_streams">>,
            <<"Processes by kind: request (one that is being answered) and websocket.">>)),
        counter(requests, sidecar, <<"outrider_requests_total">>, <<"Requests that went to the VM.">>),
        by(status, counter(requests_refused, sidecar, <<"outrider_requests_refused_total">>,
            <<"Requests that did not, by the status with which the sidecar has answered.">>)),
        counter(handshakes, sidecar, <<"outrider_websocket_handshakes_total">>, <<"Requests that became WebSockets.">>),
        by(status, counter(handshakes_failed, sidecar, <<"outrider_websocket_handshakes_failed_total">>,
            <<"Requests that wanted to and were answered otherwise, by the answer's status.">>)),
        by(version, counter(tls_handshakes, sidecar, <<"outrider_tls_handshakes_total">>,
            <<"Handshakes of TLS that were completed.">>)),
        by(reason, counter(tls_handshakes_failed, sidecar, <<"outrider_tls_handshakes_failed_total">>,
            <<"Those that failed: timeout, lost (the client has gone), not_tls, unknown_name, incompatible (no version or cipher "
              "in common), certificate (the client's), alert (the client has refused), protocol.">>)),
        by(opcode, with(direction, <<"received">>, counter(messages_received, sidecar, <<"outrider_websocket_messages_total">>,
            <<"Messages, pings and pongs. A large message counts with its last piece when it comes, with its first when it goes; "
              "one to many clients once for each.">>))),
        by(opcode, with(direction, <<"sent">>, counter(messages_sent, sidecar, <<"outrider_websocket_messages_total">>, <<>>))),
        bytes(by(opcode, with(direction, <<"received">>,
            counter(message_bytes_received, sidecar, <<"outrider_websocket_message_bytes_total">>,
                <<"Bytes of their payloads, not compressed.">>)))),
        bytes(by(opcode, with(direction, <<"sent">>,
            counter(message_bytes_sent, sidecar, <<"outrider_websocket_message_bytes_total">>, <<>>)))),
        by(code, with(side, <<"client">>, counter(closes_by_client, sidecar, <<"outrider_websocket_closes_total">>,
            <<"WebSockets by who ended them first, and with which code: 1005 without one, 1006 without a close frame, 3xxx and 4xxx "
              "are the application's.">>))),
        by(code, with(side, <<"server">>, counter(closes_by_server, sidecar, <<"outrider_websocket_closes_total">>, <<>>))),
        bytes(with(direction, <<"received">>, counter(socket_bytes_received, sidecar, <<"outrider_socket_bytes_total">>,
            <<"Bytes on the clients' sockets, with HTTP and TLS.">>))),
        bytes(with(direction, <<"sent">>, counter(socket_bytes_sent, sidecar, <<"outrider_socket_bytes_total">>, <<>>))),
        time(#{
            key => ping_round_trips, type => histogram, from => sidecar, unit => none, name => <<"outrider_websocket_ping_seconds">>,
            help => <<"From a ping of ping_interval to its pong.">>
        }),
        gauge(clients_blocked, sidecar, <<"outrider_clients_blocked">>,
            <<"Clients whose socket takes nothing at the moment although something waits for them.">>),
        bytes(gauge(backlog_bytes, sidecar, <<"outrider_backlog_bytes">>,
            <<"What waits in the sidecar for all clients together: what max_queued limits.">>)),
        bytes(gauge(backlog_largest_bytes, vm, <<"outrider_backlog_largest_bytes">>,
            <<"The least bound of outrider_backlog_clients that no client exceeds; of what is above 1 GiB, 2 GiB.">>)),
        by(up_to, gauge(backlog_clients, sidecar, <<"outrider_backlog_clients">>,
            <<"WebSockets for which something waits: up to so many bytes, and more than half of that (1024: and at least one).">>)),
        with(sender, <<"many">>, counter(frames_dropped, sidecar, <<"outrider_frames_dropped_total">>,
            <<"Frames that a client was not sent, because its backlog was full (on_backlog => drop): of one to many clients, and of its "
              "own handler's.">>)),
        with(sender, <<"handler">>, counter(own_frames_dropped, vm, <<"outrider_frames_dropped_total">>, <<>>)),
        bytes(with(form, <<"plain">>, counter(deflate_bytes_in, sidecar, <<"outrider_deflate_bytes_total">>,
            <<"Payloads that were sent compressed, before and after; of one to many clients once.">>))),
        bytes(with(form, <<"compressed">>, counter(deflate_bytes_out, sidecar, <<"outrider_deflate_bytes_total">>, <<>>))),
        bytes(with(form, <<"compressed">>, counter(inflate_bytes_in, sidecar, <<"outrider_inflate_bytes_total">>,
            <<"Payloads that came compressed, before and after.">>))),
        bytes(with(form, <<"plain">>, counter(inflate_bytes_out, sidecar, <<"outrider_inflate_bytes_total">>, <<>>))),
        bytes(with(direction, <<"to_vm">>, counter(port_bytes_sent, sidecar, <<"outrider_port_bytes_total">>,
            <<"Bytes between sidecar and VM.">>))),
        bytes(with(direction, <<"from_vm">>, counter(port_bytes_received, sidecar, <<"outrider_port_bytes_total">>, <<>>))),
        with(direction, <<"to_vm">>, counter(port_packets_sent, sidecar, <<"outrider_port_packets_total">>,
            <<"Packets between sidecar and VM.">>)),
        with(direction, <<"from_vm">>, counter(port_packets_received, sidecar, <<"outrider_port_packets_total">>, <<>>)),
        bytes(with(direction, <<"to_vm">>, gauge(port_waiting_bytes, sidecar, <<"outrider_port_waiting_bytes">>,
            <<"What waits for the VM to read it, or in the VM for the sidecar.">>))),
        bytes(with(direction, <<"from_vm">>, gauge(port_queue_bytes, vm, <<"outrider_port_waiting_bytes">>, <<>>))),
        gauge(owner_queue, vm, <<"outrider_port_owner_messages">>,
            <<"Messages in the mailbox of the process that owns the port: what the VM has read and not handed out.">>),
        counter(port_congested, sidecar, <<"outrider_port_congested_total">>,
            <<"How often no client was read because 4 MiB waited for the VM.">>),
        time(counter(port_congested_us, sidecar, <<"outrider_port_congested_seconds_total">>, <<"For how long, in all.">>)),
        bytes(with(direction, <<"received">>, gauge(credit_received_bytes, sidecar, <<"outrider_credit_bytes">>,
            <<"What has been sent and not yet been credited (docs/port-protocol.md): of clients to handlers, of handlers to clients.">>))),
        bytes(with(direction, <<"sent">>, gauge(credit_sent_bytes, sidecar, <<"outrider_credit_bytes">>, <<>>))),
        gauge(topics, sidecar, <<"outrider_topics">>, <<"Topics with a subscriber.">>),
        gauge(subscriptions, sidecar, <<"outrider_subscriptions">>, <<"Subscriptions to topics.">>)
    ].

gauge(Key, From, Name, Help) ->
    #{key => Key, type => gauge, from => From, unit => none, name => Name, help => Help}.

counter(Key, From, Name, Help) ->
    (gauge(Key, From, Name, Help))#{type => counter}.

bytes(Row) -> Row#{unit => bytes}.

time(Row) -> Row#{unit => microseconds}.

by(Label, Row) -> Row#{by => Label}.

with(Label, Value, Row) -> Row#{labels => [{Label, Value}]}.

%% What the sidecar counts in limits_reached: options; file_descriptors where there were none left, file_timeout where a file was not
%% read in time; and enhance_your_calm for what HTTP/2 bounds in any case: small frames that nobody reads, lists of fields that are
%% large in few bytes or come in many pieces, streams reset before they began.
-spec limits() -> [atom()].
limits() ->
    [
        max_connections, max_sockets, max_sockets_per_address, max_accept_rate, file_descriptors, file_timeout, proxy_header,
        handshake_timeout,
        request_timeout, max_empty_lines, max_request_line_length, max_method_length, max_authority_length, max_headers,
        max_header_name_length, max_header_value_length, max_authorization_header_value_length,
        max_cookie_header_value_length, max_skip_body_length, max_received_frame_rate, max_cancel_stream_rate, max_reset_stream_rate,
        max_fragmented_header_block_size, max_concurrent_streams, enhance_your_calm, preface_timeout, settings_timeout, idle_timeout,
        pong_timeout, send_timeout, max_frame_size, max_fragments,
        max_backlog, max_queued, max_topics, max_topics_per_client
    ].

%% All that the sidecar may say, beside the keys, limits and integers.
-spec atoms() -> [atom()].
atoms() ->
    [
        metrics, histogram, infinity, tls_handshake, http, websocket, closing, text, binary, ping, pong, '3xxx', '4xxx', other,
        'tlsv1.3', 'tlsv1.2', timeout, lost, not_tls, unknown_name, incompatible, certificate, alert, protocol
    ] ++ limits() ++ [Key || #{key := Key} <- rows()].
