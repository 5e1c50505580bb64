%% Starts one of the two servers with bench_handler and tells where it listens.
%%
%% usage: erl -noshell -s bench_server -extra cowboy|outrider|outriderSIDECARS [CERTFILE KEYFILE]
%%
%% With a certificate it speaks TLS.
%%
%% Prints one line, `ready` and then key=value words, and lives until its standard input ends: so it cannot outlive the
%% load generator that started it.
-module(bench_server).

-export([start/0]).

start() ->
    [Side | Certificate] = init:get_plain_arguments(),
    {Server, Sidecars} =
        case Side of
            "cowboy" -> {cowboy, #{}};
            "outrider" -> {outrider, #{}};
            "outrider" ++ Count -> {outrider, #{sidecars => list_to_integer(Count)}}
        end,
    {ok, _} = application:ensure_all_started(Server),
    {ok, _} = pg:start(pg),
    ok = persistent_term:put(bench_arrivals, atomics:new(1, [])),
    {Start, SocketOpts} =
        case Certificate of
            [] -> {start_clear, []};
            [CertFile, KeyFile] -> {start_tls, [{certfile, CertFile}, {keyfile, KeyFile}]}
        end,
    {ok, _} = Server:Start(bench, maps:merge(transport_options(SocketOpts), Sidecars), protocol_options()),
    io:format("ready port=~b pid=~s otp=~s erts=~s cowboy=~s server=~s~n", [
        port(Server), os:getpid(), erlang:system_info(otp_release), erlang:system_info(version),
        vsn(cowboy), vsn(Server)]),
    eof = wait_for_eof(),
    halt(0).

transport_options(SocketOpts) ->
    #{socket_opts => [{ip, {127, 0, 0, 1}}, {port, 0}, {backlog, 4096} | SocketOpts], max_connections => infinity}.

protocol_options() ->
    Dispatch = cowboy_router:compile([{'_', [
        {"/echo", bench_handler, echo},
        {"/push", bench_handler, push},
        {"/room", bench_handler, room},
        {"/send_many", bench_handler, send_many},
        {"/topic", bench_handler, topic},
        {"/idle", bench_handler, idle},
        {"/lazy", bench_handler, lazy},
        {"/sink", bench_handler, sink},
        {"/sleep", bench_handler, sleep},
        {"/reply", bench_handler, reply}
    ]}]),
    %% One client is worth many here: their usual limits are not what is measured.
    #{env => #{dispatch => Dispatch}, max_keepalive => 1_000_000_000, max_received_frame_rate => {1_000_000_000, 10_000}}.

port(cowboy) -> ranch:get_port(bench);
port(outrider) -> outrider:get_port(bench).

vsn(Application) ->
    {ok, Vsn} = application:get_key(Application, vsn),
    Vsn.

wait_for_eof() ->
    case io:get_line("") of
        eof -> eof;
        _Line -> wait_for_eof()
    end.
