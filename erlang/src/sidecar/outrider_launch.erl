%%% Starts a sidecar's OS process as a port, up to its hello, and lets it go.
%%%
%%% Runs in the process of outrider_sidecar, which owns the port. What comes in is the name of a listener; what goes out is a
%%% port whose sidecar listens, or the reason why there is none, with no message of the port left behind.
-module(outrider_launch).

-export([start/2, close/1, describe/1]).

%% How long a sidecar may take to bind and say hello.
-define(HELLO_TIMEOUT_MS, 10000).
%% How long a listener that starts again tries to get its address back, which its last sidecars may still hold, and how often.
-define(REBIND_MS, 5000).
-define(REBIND_PAUSE_MS, 50).
%% What may wait in the VM for the sidecar to read it before a process that writes is suspended: {resume, suspend}. The
%% default of a few KiB would suspend every handler long before the pipe is full.
-define(BUSY_LIMITS, {1048576, 2097152}).
%% What a sidecar gets of the VM's environment, where secrets are often kept: how to find a wrapper's commands and our
%% libraries, and whether a panic shows its trace.
-define(KEPT_ENVIRONMENT, ["PATH", "LD_LIBRARY_PATH", "RUST_BACKTRACE"]).

-export_type([reason/0]).

-type reason() ::
    {listen_error, Address :: binary(), Posix :: atom()}
    | {executable, file:filename_all(), Posix :: atom()}
    | {protocol_version, [{vm | sidecar, term()}]}
    | {options, {tls, binary(), {error, refused}}}
    | {sidecar_exit, Status :: non_neg_integer()}
    | {sidecar_port, Reason :: term()}
    | hello_timeout.

-type hello() :: #{vsn := binary(), os_pid := pos_integer(), listening := [outrider_registry:address()]}.

%% The first sidecar of a listener gets the address now or not at all. One after it goes there, too. While the listener is
%% suspended it listens nowhere.
-spec start(first | again, ranch:ref()) -> {ok, port(), hello()} | {error, reason()}.
start(When, Ref) ->
    TransOpts = outrider_registry:transport_options(Ref),
    ProtoOpts = outrider_registry:protocol_options(Ref),
    Tls = tls(Ref, TransOpts),
    case outrider_registry:last_address(Ref) of
        undefined ->
            ok = outrider_options:log_unsupported(Ref, TransOpts, ProtoOpts),
            open(outrider_options:arguments(Ref, TransOpts, ProtoOpts, undefined), Tls);
        Last ->
            Suspended = atom_to_list(outrider_registry:status(Ref) =:= suspended),
            Arguments = outrider_options:arguments(Ref, TransOpts, ProtoOpts, last_port(Last)) ++ ["--suspended", Suspended],
            case When of
                first -> reopen(Arguments, Tls, now_ms() + ?REBIND_MS);
                again -> open(Arguments, Tls)
            end
    end.

%% The settings, for a sidecar that is to encrypt.
tls(Ref, TransOpts) ->
    case outrider_options:is_tls(TransOpts) of
        true -> outrider_certificates:join(Ref);
        false -> none
    end.

last_port({local, _}) -> undefined;
last_port({_Ip, Port}) -> Port.

open(Arguments, Tls) ->
    Options = [
        {args, Arguments}, {packet, 4}, binary, exit_status, use_stdio, hide,
        %% All paths that it gets are absolute; a folder of the VM's would be kept from being unmounted.
        {cd, "/"}, {env, [{Name, false} || {Name, _} <- os:env(), not lists:member(Name, ?KEPT_ENVIRONMENT)]},
        {busy_limits_port, ?BUSY_LIMITS}, {busy_limits_msgq, ?BUSY_LIMITS}
    ],
    try open_port({spawn_executable, executable()}, Options) of
        Port ->
            case hello(Port, Tls) of
                {ok, Hello} ->
                    {ok, Port, Hello};
                {error, _} = Error ->
                    unlink(Port),
                    ok = close(Port),
                    flush(Port),
                    Error
            end
    catch
        error:Posix -> {error, {executable, executable(), Posix}}
    end.

%% Open, and be patient where the address is in use: by a sidecar that is about to leave.
reopen(Arguments, Tls, Deadline) ->
    case {open(Arguments, Tls), now_ms() < Deadline} of
        {{error, {listen_error, _, eaddrinuse}}, true} ->
            receive
            after ?REBIND_PAUSE_MS -> reopen(Arguments, Tls, Deadline)
            end;
        {Result, _} ->
            Result
    end.

%% End the sidecar's stdin: its order to leave.
-spec close(port()) -> ok.
close(Port) ->
    try port_close(Port) of
        true -> ok
    catch
        error:badarg -> ok
    end.

%% A reason in words.
-spec describe(reason()) -> string().
describe({listen_error, _, Posix}) -> inet:format_error(Posix);
describe({executable, _, Posix}) -> inet:format_error(Posix);
describe({protocol_version, _}) -> "the sidecar is of another version than the application";
describe({options, {_, Text, _}}) -> unicode:characters_to_list(Text);
describe({sidecar_exit, Status}) when Status > 128 ->
    "ended by signal " ++ integer_to_list(Status - 128) ++ "; if it could say why, it did so on stderr";
describe({sidecar_exit, _}) -> "the sidecar has said why on stderr";
describe({sidecar_port, epipe}) -> "it reads no more, and its exit status has not come";
describe({sidecar_port, _}) -> "its port was closed";
describe(hello_timeout) -> "the sidecar did not say hello".

hello(Port, Tls) ->
    Version = outrider_protocol:version(),
    receive
        {Port, {data, Packet}} ->
            case outrider_protocol:decode(Packet) of
                {hello, Version, Hello} ->
                    true = erlang:port_command(Port, term_to_binary({hello, Version})),
                    secured(Port, Tls, Hello);
                {hello, Other, _} ->
                    {error, {protocol_version, [{vm, Version}, {sidecar, Other}]}};
                {listen_error, _, _} = Error ->
                    {error, Error}
            end;
        {Port, {exit_status, Status}} ->
            {error, {sidecar_exit, Status}}
    after ?HELLO_TIMEOUT_MS ->
        {error, hello_timeout}
    end.

%% Nobody is let in before the sidecar has its certificates: until then nothing comes but what it logs.
secured(_, none, Hello) ->
    {ok, Hello};
secured(Port, Tls, Hello) ->
    true = erlang:port_command(Port, term_to_iovec([{0, [{tls, 0, outrider_secret:open(Tls)}]}])),
    answer(Port, Hello).

answer(Port, Hello) ->
    receive
        {Port, {data, Packet}} ->
            case [Result || {0, {tls, 0, Result}} <- outrider_protocol:decode(Packet)] of
                [ok] -> {ok, Hello};
                [{error, Text}] -> {error, {options, {tls, Text, {error, refused}}}};
                [] -> answer(Port, Hello)
            end;
        {Port, {exit_status, Status}} ->
            {error, {sidecar_exit, Status}}
    after ?HELLO_TIMEOUT_MS ->
        {error, hello_timeout}
    end.

flush(Port) ->
    receive
        {Port, _} -> flush(Port);
        {'EXIT', Port, _} -> flush(Port)
    after 0 -> ok
    end.

executable() ->
    case application:get_env(outrider, executable) of
        {ok, Path} -> filename:absname(Path);
        undefined -> filename:absname(filename:join([code:priv_dir(outrider), "bin", "outrider"]))
    end.

now_ms() ->
    erlang:monotonic_time(millisecond).
