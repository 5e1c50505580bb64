%%% Every option of Ranch and Cowboy, in three tables: what it may be, and what becomes of it. Those of TLS are in outrider_tls.
%%%
%%% An option is a flag of the sidecar, is honoured by the VM's side, is quietly without effect (it steers what Outrider
%%% does not have, and nobody would miss it), or cannot be honoured: then the listener names it once in the log. The
%%% values are checked before anything starts. Pure, but for the one log line.
%%%
%%% Transport options are Ranch's map, or its older list, which means socket_opts. Protocol options are Cowboy's map;
%%% one that is in no table is not ours to judge: stream handlers get it.
-module(outrider_options).

-export([normalize/1, seal/1, is_tls/1, check/2, log_refused/3, log_unsupported/3, arguments/4]).
-export([logger/1, max_connections/1, shutdown/1, sidecars/1, window/1, watchdog/1]).

-define(DEFAULT_MAX_CONNECTIONS, 10240).
%% Bytes on their way to or from one client before the sender waits; docs/port-protocol.md, "Credit".
-define(DEFAULT_WINDOW, 262144).
-define(DEFAULT_SHUTDOWN_MS, 5000).
-define(DEFAULT_WATCHDOG_MS, 10000).
%% The longest head of a request, in bytes, whatever the limits of its parts are; src/http/head.
-define(MOST_HEAD, 67108864).
%% The largest window of HTTP/2 (RFC 9113, 6.9.1).
-define(MOST_WINDOW, 16#7fffffff).
%% What a number of the sidecar can be, and a shorter one.
-define(MOST, 16#ffffffffffffffff).
-define(MOST_SHORT, 16#ffffffff).

-type fate() :: {flag, string()} | vm | quiet | {unsupported, NoEffect :: term()} | unsupported.

-spec normalize(ranch:opts()) -> map().
normalize(Opts) when is_map(Opts) -> Opts;
normalize(SocketOpts) -> #{socket_opts => SocketOpts}.

%% The same, with what is secret in them where no report shows it.
-spec seal(map()) -> map().
seal(TransOpts = #{socket_opts := SocketOpts}) when is_list(SocketOpts) ->
    TransOpts#{socket_opts := outrider_tls:seal(SocketOpts)};
seal(TransOpts) ->
    TransOpts.

%% Whether the listener was started with TLS.
-spec is_tls(map()) -> boolean().
is_tls(TransOpts) -> maps:get(tls, TransOpts, false) =:= true.

%% Whether the options are such as the tables say; a wrong or unknown one is named. So is a socket option, where Ranch
%% fails with a badarg deep in a supervisor's error.
-spec check(map(), cowboy:opts()) -> ok | {error, no_cert | {bad_option, term()}}.
check(TransOpts, ProtoOpts) ->
    {Tls, SocketOpts} = split(TransOpts),
    case {check_plain(plain(TransOpts, SocketOpts), ProtoOpts), is_tls(TransOpts), outrider_tls:has_certificate(Tls)} of
        {ok, false, _} -> ok;
        {ok, true, true} -> outrider_tls:check(Tls);
        {ok, true, false} -> {error, no_cert};
        {{error, _} = Error, _, _} -> Error
    end.

%% A value that is no list of options is named.
plain(TransOpts = #{socket_opts := List}, SocketOpts) when is_list(List) -> TransOpts#{socket_opts => SocketOpts};
plain(TransOpts, _) -> TransOpts.

%% The options of TLS, and those of the socket below it.
split(TransOpts) ->
    case is_tls(TransOpts) of
        true -> outrider_tls:split(socket_opts(TransOpts));
        false -> {[], socket_opts(TransOpts)}
    end.

check_plain(TransOpts, ProtoOpts) ->
    Wrong =
        [Key || {Key, Value} <- maps:to_list(TransOpts), not valid(transport(Key), Value)] ++
            [element(1, Opt) || Opt <- socket_opts(TransOpts), not valid_socket_opt(Opt)] ++
            [Key || {Key, Value} <- maps:to_list(ProtoOpts), not valid(protocol(Key), Value)],
    case Wrong of
        [] -> check_sidecars(sidecars(TransOpts), maps:from_list([Opt || Opt = {_, _} <- socket_opts(TransOpts)]));
        [Key | _] -> {error, {bad_option, Key}}
    end.

%% A Unix socket's path belongs to one process.
check_sidecars(Count, #{ip := {local, _}}) when Count > 1 -> {error, {bad_option, sidecars}};
check_sidecars(Count, #{ifaddr := {local, _}}) when Count > 1 -> {error, {bad_option, sidecars}};
check_sidecars(_, _) -> ok.

%% What there is instead of an option because of which a listener does not start, where there is something.
-spec log_refused(ranch:ref(), map(), term()) -> ok.
log_refused(Ref, TransOpts, {bad_option, Key}) ->
    case outrider_tls:instead(Key) of
        undefined -> ok;
        Why -> ranch:log(error, "Outrider listener ~p refuses the option ~p: ~s.~n", [Ref, Key, Why], logger(TransOpts))
    end;
log_refused(_, _, _) ->
    ok.

%% Once, when a listener starts. Options that are not the user's to set are Ranch's to name, in its words.
-spec log_unsupported(ranch:ref(), map(), cowboy:opts()) -> ok.
log_unsupported(Ref, TransOpts0, ProtoOpts) ->
    {Tls, SocketOpts} = split(TransOpts0),
    TransOpts = TransOpts0#{socket_opts => SocketOpts},
    _ = [
        ranch:log(warning, "Transport option ~p unknown or invalid.~n", [Opt], logger(TransOpts))
     || Opt <- socket_opts(TransOpts), not is_users(Opt)
    ],
    Keys =
        outrider_tls:unsupported(Tls) ++
            [Key || {Key, Value} <- maps:to_list(TransOpts), unsupported(transport(Key), Value)] ++
            [element(1, Opt) || Opt <- socket_opts(TransOpts), unsupported_socket_opt(Opt)] ++
            [Key || {Key, Value} <- maps:to_list(ProtoOpts), unsupported(protocol(Key), Value)],
    case Keys of
        [] ->
            ok;
        _ ->
            Format = "Outrider listener ~p cannot honour these options: ~0p~n",
            ranch:log(warning, Format, [Ref, Keys], logger(TransOpts))
    end.

%% As ranch:filter_options, whose arity is not the same in all versions.
is_users({Key, _}) -> not lists:member(Key, ranch_tcp:disallowed_listen_options());
is_users({raw, _, _, _}) -> true;
is_users(Opt) -> Opt =:= inet orelse Opt =:= inet6.

%% A sidecar's command line. LastPort is the port of the listener's sidecar before this one: port 0 means that one again.
-spec arguments(ranch:ref(), map(), cowboy:opts(), inet:port_number() | undefined) -> [string()].
arguments(Ref, TransOpts, ProtoOpts, LastPort) ->
    {_, Socket} = split(TransOpts),
    SocketOpts = maps:from_list([Opt || Opt = {_, _} <- Socket]),
    ["serve", "--name", lists:flatten(io_lib:format("~0tp", [Ref])), "--listen", listen(TransOpts, SocketOpts, LastPort)] ++
        share(sidecars(TransOpts), LastPort) ++ flags(fun transport/1, TransOpts) ++ flags(fun socket/1, SocketOpts) ++
        flags(fun protocol/1, ProtoOpts).

-spec logger(map()) -> module().
logger(TransOpts) -> maps:get(logger, TransOpts, logger).

-spec shutdown(map()) -> timeout() | brutal_kill.
shutdown(TransOpts) -> maps:get(shutdown, TransOpts, ?DEFAULT_SHUTDOWN_MS).

-spec max_connections(map()) -> ranch:max_conns().
max_connections(TransOpts) -> maps:get(max_connections, TransOpts, ?DEFAULT_MAX_CONNECTIONS).

-spec sidecars(map()) -> pos_integer().
sidecars(TransOpts) -> maps:get(sidecars, TransOpts, 1).

-spec window(map()) -> pos_integer().
window(TransOpts) -> maps:get(window, TransOpts, ?DEFAULT_WINDOW).

-spec watchdog(map()) -> pos_integer() | infinity.
watchdog(TransOpts) -> maps:get(watchdog, TransOpts, ?DEFAULT_WATCHDOG_MS).

%% The tables: {what it may be, its fate}.

-spec transport(term()) -> {term(), fate()} | unknown.
transport(socket_opts) -> {list, vm};
transport(logger) -> {atom, vm};
transport(shutdown) -> {shutdown, vm};
transport(max_connections) -> {limit, {flag, "--max-connections"}};
transport(connection_type) -> {{one_of, [worker, supervisor]}, quiet};
transport(num_acceptors) -> {positive, quiet};
transport(num_conns_sups) -> {positive, quiet};
transport(handshake_timeout) -> {limit, {flag, "--handshake-timeout"}};
transport(num_listen_sockets) -> {positive, {unsupported, 1}};
transport(alarms) -> {map, {unsupported, #{}}};
transport(post_listen_callback) -> {{function, 1}, unsupported};
%% Outrider's own. The first is start_tls/3's to set.
transport(tls) -> {boolean, {flag, "--tls"}};
transport(sidecars) -> {positive, vm};
transport(max_sockets) -> {limit, {flag, "--max-sockets"}};
transport(max_sockets_per_address) -> {limit, {flag, "--max-sockets-per-address"}};
transport(max_accept_rate) -> {rate, {flag, "--max-accept-rate"}};
transport(max_queued) -> {limit, {flag, "--max-queued"}};
transport(max_topics) -> {limit, {flag, "--max-topics"}};
transport(max_topics_per_client) -> {limit, {flag, "--max-topics-per-client"}};
transport(max_fragments) -> {{limit, ?MOST_SHORT}, {flag, "--max-fragments"}};
transport(window) -> {positive, {flag, "--window"}};
transport(memory_limit) -> {limit, {flag, "--memory-limit"}};
transport(sidecar_user) -> {user, {flag, "--user"}};
transport(watchdog) -> {period, {flag, "--watchdog"}};
transport(vm_timeout) -> {period, {flag, "--vm-timeout"}};
transport(log_level) -> {{one_of, [error, warning, info, debug]}, {flag, "--log-level"}};
transport(_) -> unknown.

-spec socket(term()) -> {term(), fate()} | unknown.
socket(port) -> {port, vm};
socket(ip) -> {address, vm};
socket(ifaddr) -> {address, vm};
socket(ipv6_v6only) -> {boolean, {flag, "--ipv6-only"}};
socket(backlog) -> {{most, ?MOST_SHORT}, {flag, "--backlog"}};
socket(nodelay) -> {boolean, {flag, "--nodelay"}};
socket(keepalive) -> {boolean, {flag, "--keepalive"}};
socket(sndbuf) -> {integer, {flag, "--sndbuf"}};
socket(recbuf) -> {integer, {flag, "--recbuf"}};
socket(send_timeout) -> {limit, {flag, "--send-timeout"}};
socket(send_timeout_close) -> {boolean, {unsupported, true}};
socket(buffer) -> {integer, quiet};
socket(delay_send) -> {boolean, quiet};
socket(high_watermark) -> {integer, quiet};
socket(low_watermark) -> {integer, quiet};
socket(high_msgq_watermark) -> {integer, quiet};
socket(low_msgq_watermark) -> {integer, quiet};
socket(Key) ->
    Unsupported = [
        bind_to_device, exit_on_close, fd, inet_backend, linger, netns, priority, show_econnreset, tclass, tos, ttl
    ],
    case lists:member(Key, Unsupported) of
        true -> {any, unsupported};
        false -> disallowed(lists:member(Key, ranch_tcp:disallowed_listen_options()))
    end.

disallowed(true) -> {any, quiet};
disallowed(false) -> unknown.

-spec protocol(term()) -> {term(), fate()} | unknown.
protocol(request_timeout) -> {limit, {flag, "--request-timeout"}};
protocol(idle_timeout) -> {limit, {flag, "--idle-timeout"}};
protocol(linger_timeout) -> {limit, {flag, "--linger-timeout"}};
protocol(max_keepalive) -> {limit, {flag, "--max-keepalive"}};
protocol(max_empty_lines) -> {limit, {flag, "--max-empty-lines"}};
protocol(max_request_line_length) -> {{most, ?MOST_HEAD}, {flag, "--max-request-line-length"}};
protocol(max_method_length) -> {limit, {flag, "--max-method-length"}};
protocol(max_authority_length) -> {{most, 65000}, {flag, "--max-authority-length"}};
protocol(max_headers) -> {{most, 24576}, {flag, "--max-headers"}};
protocol(max_header_name_length) -> {{most, 65535}, {flag, "--max-header-name-length"}};
protocol(max_header_value_length) -> {{most, ?MOST_HEAD}, {flag, "--max-header-value-length"}};
protocol(max_skip_body_length) -> {limit, {flag, "--max-skip-body-length"}};
protocol(initial_stream_flow_size) -> {limit, {flag, "--initial-stream-flow-size"}};
protocol(http10_keepalive) -> {boolean, {flag, "--http10-keepalive"}};
protocol(env) -> {map, vm};
protocol(middlewares) -> {list, vm};
protocol(stream_handlers) -> {list, vm};
protocol(chunked) -> {boolean, {flag, "--chunked"}};
protocol(proxy_header) -> {boolean, {flag, "--proxy-header"}};
protocol(reset_idle_timeout_on_send) -> {boolean, {flag, "--reset-idle-timeout-on-send"}};
protocol(enable_connect_protocol) -> {boolean, {flag, "--enable-connect-protocol"}};
protocol(max_authorization_header_value_length) ->
    {{most, ?MOST_HEAD}, {flag, "--max-authorization-header-value-length"}};
protocol(max_cookie_header_value_length) -> {{most, ?MOST_HEAD}, {flag, "--max-cookie-header-value-length"}};
protocol(invalid_response_headers) -> {{one_of, [error_terminate, ignore]}, vm};
protocol(protocols) -> {protocols, {flag, "--protocols"}};
protocol(alpn_default_protocol) -> {{one_of, [http, http2]}, {flag, "--alpn-default-protocol"}};
%% HTTP/2's.
protocol(max_concurrent_streams) -> {{limit, ?MOST_SHORT}, {flag, "--max-concurrent-streams"}};
protocol(initial_stream_window_size) -> {{most, ?MOST_WINDOW}, {flag, "--initial-stream-window-size"}};
protocol(initial_connection_window_size) ->
    {{within, 65535, ?MOST_WINDOW}, {flag, "--initial-connection-window-size"}};
protocol(max_connection_window_size) -> {{most, ?MOST_WINDOW}, {flag, "--max-connection-window-size"}};
protocol(max_frame_size_received) -> {{within, 16384, 16777215}, {flag, "--max-frame-size-received"}};
protocol(max_decode_table_size) -> {{most, ?MOST_SHORT}, {flag, "--max-decode-table-size"}};
protocol(max_fragmented_header_block_size) ->
    {{within, 16384, ?MOST_WINDOW}, {flag, "--max-fragmented-header-block-size"}};
protocol(max_received_frame_rate) -> {times, {flag, "--max-received-frame-rate"}};
protocol(max_reset_stream_rate) -> {times, {flag, "--max-reset-stream-rate"}};
protocol(max_cancel_stream_rate) -> {times, {flag, "--max-cancel-stream-rate"}};
protocol(preface_timeout) -> {limit, {flag, "--preface-timeout"}};
protocol(settings_timeout) -> {limit, {flag, "--settings-timeout"}};
protocol(max_encode_table_size) -> {integer, quiet};
protocol(max_frame_size_sent) -> {limit, quiet};
protocol(max_stream_window_size) -> {integer, quiet};
protocol(max_connection_buffer_size) -> {integer, quiet};
protocol(max_stream_buffer_size) -> {integer, quiet};
protocol(connection_window_margin_size) -> {integer, quiet};
protocol(connection_window_update_threshold) -> {integer, quiet};
protocol(stream_window_data_threshold) -> {integer, quiet};
protocol(stream_window_margin_size) -> {integer, quiet};
protocol(stream_window_update_threshold) -> {integer, quiet};
protocol(goaway_initial_timeout) -> {limit, quiet};
protocol(goaway_complete_timeout) -> {limit, quiet};
protocol(_) -> {any, vm}.

valid(unknown, _) -> false;
valid({Type, _}, Value) -> is(Type, Value).

valid_socket_opt({Key, Value}) -> valid(socket(Key), Value);
%% Ranch drops what is not even shaped like an option, with a warning.
valid_socket_opt(_) -> true.

unsupported({_, unsupported}, _) -> true;
unsupported({_, {unsupported, NoEffect}}, Value) -> Value =/= NoEffect;
unsupported(_, _) -> false.

unsupported_socket_opt({Key, Value}) -> unsupported(socket(Key), Value);
unsupported_socket_opt(Opt) -> is_tuple(Opt) andalso tuple_size(Opt) > 0.

socket_opts(TransOpts) ->
    case maps:get(socket_opts, TransOpts, []) of
        List when is_list(List) -> List;
        _ -> []
    end.

is(any, _) -> true;
is(atom, V) -> is_atom(V);
is(protocols, V) -> is_list(V) andalso V =/= [] andalso V -- [http, http2, http, http2] =:= [];
is(boolean, V) -> is_boolean(V);
is(list, V) -> is_list(V);
is(map, V) -> is_map(V);
is({function, Arity}, V) -> is_function(V, Arity);
is({one_of, Values}, V) -> lists:member(V, Values);
is(integer, V) -> is_integer(V) andalso V >= 0 andalso V =< ?MOST;
is(positive, V) -> is(integer, V) andalso V > 0;
%% The VM waits no longer.
is(period, V) -> V =/= 0 andalso is({limit, ?MOST_SHORT}, V);
is(limit, V) -> V =:= infinity orelse is(integer, V);
is({within, Min, Max}, V) -> is({most, Max}, V) andalso V >= Min;
is(times, {Count, Period}) -> is(positive, Count) andalso Count =< ?MOST_SHORT andalso is(limit, Period);
is(times, _) -> false;
is({most, Max}, V) -> is(integer, V) andalso V =< Max;
is({limit, Max}, V) -> V =:= infinity orelse (is(integer, V) andalso V =< Max);
is(rate, V) -> V =/= 0 andalso is({limit, ?MOST_SHORT}, V);
%% With what a sidecar gets beyond it.
is(shutdown, V) -> V =:= brutal_kill orelse is({limit, ?MOST_SHORT - 10000}, V);
is(port, V) -> is_integer(V) andalso V >= 0 andalso V =< 65535;
%% The last is no user's.
is(user, {Uid, Gid}) -> is({most, ?MOST_SHORT - 1}, Uid) andalso is({most, ?MOST_SHORT - 1}, Gid);
is(user, V) when is_binary(V) -> is(user, unicode:characters_to_list(V));
is(user, V) -> V =/= [] andalso io_lib:char_list(V);
is(address, {local, Path}) -> is_binary(Path) orelse is_list(Path);
is(address, V) -> V =:= any orelse V =:= loopback orelse inet:is_ip_address(V).

flags(Table, Opts) ->
    lists:append([
        [Flag, value(Value)]
     || {Key, Value} <- maps:to_list(Opts), {_, {flag, Flag}} <- [Table(Key)]
    ]).

value(Value) when is_integer(Value) -> integer_to_list(Value);
value(Value) when is_atom(Value) -> atom_to_list(Value);
value({One, Other}) -> value(One) ++ ":" ++ value(Other);
value([Name | _] = Names) when is_atom(Name) -> lists:flatten(lists:join(",", lists:map(fun atom_to_list/1, Names)));
value(Name) -> unicode:characters_to_list(Name).

share(1, _) -> [];
share(_, undefined) -> ["--share-port", "take"];
share(_, _) -> ["--share-port", "join"].

listen(TransOpts, SocketOpts, LastPort) ->
    Port =
        case maps:get(port, SocketOpts, 0) of
            0 when LastPort =/= undefined -> LastPort;
            P -> P
        end,
    Family =
        case lists:member(inet6, socket_opts(TransOpts)) of
            true -> inet6;
            false -> inet
        end,
    address(maps:get(ip, SocketOpts, maps:get(ifaddr, SocketOpts, any)), Family, Port).

address({local, Path}, _, _) -> "unix:" ++ unicode:characters_to_list(filename:absname(Path));
address(any, inet, Port) -> address({0, 0, 0, 0}, inet, Port);
address(any, inet6, Port) -> address({0, 0, 0, 0, 0, 0, 0, 0}, inet6, Port);
address(loopback, inet, Port) -> address({127, 0, 0, 1}, inet, Port);
address(loopback, inet6, Port) -> address({0, 0, 0, 0, 0, 0, 0, 1}, inet6, Port);
address(Ip, _, Port) -> binary_to_list(outrider_text:address({Ip, Port})).
