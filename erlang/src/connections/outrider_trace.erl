%%% The frames of one WebSocket as they pass, for somebody who looks into it: to a process, or to a file.
%%%
%%% A gen_server for as long as one trace takes. The sidecar tells of each frame what it asks for: by default its header alone,
%%% never its content. It ends by itself: after so many frames or so long, with the WebSocket, and with who gets them.
-module(outrider_trace).
-behaviour(gen_server).

-export([start/2, stop/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export_type([options/0, frame/0]).

-define(DEFAULT_FRAMES, 1000).
-define(MAX_FRAMES, 100000).
-define(DEFAULT_TIME_MS, 10000).
-define(MAX_TIME_MS, 600000).
-define(MAX_CONTENT, 65536).
%% Of all frames together: so much may wait for a receiver that does not look.
-define(MAX_BYTES, 64 bsl 20).
%% After its time the sidecar has so long to say so.
-define(GRACE_MS, 5000).

-type options() :: #{
    %% The calling process, if nothing else is said. A file must not exist; only its owner may read it.
    to => pid() | {file, file:name_all()},
    %% 1 to 100000; 1000.
    frames => pos_integer(),
    %% Milliseconds, 1 to 600000; 10000.
    time => pos_integer(),
    %% Bytes of each payload, to 65536, of all frames to 64 MiB; none. They may be a secret.
    content => non_neg_integer()
}.
-type frame() :: #{
    direction := in | out,
    %% When its header passed, in microseconds (erlang:system_time/1).
    time := integer(),
    opcode := continuation | text | binary | close | ping | pong | 0..15,
    fin := boolean(),
    %% The reserved bits; 4 stands on compressed messages.
    rsv := 0..7,
    %% Of the payload as it is on the wire.
    size := non_neg_integer(),
    %% The beginning of that, unmasked; with the option content.
    content => binary()
}.

-record(trace, {
    sidecar :: pid(),
    number :: pos_integer(),
    stream :: pos_integer(),
    to :: {pid, pid(), reference()} | {file, file:io_device(), Tags :: #{in | out => binary()}},
    content :: non_neg_integer(),
    %% Why it is to end, where this process has ordered it.
    ending = stopped :: stopped | time,
    frames = 0 :: non_neg_integer()
}).

%% Where its frames go: {outrider, trace, Pid, frame()} for each, and {outrider, trace_end, Pid, #{reason, frames, missed}}.
-spec start(pid() | outrider_connections:id(), options()) ->
    {ok, pid()} | {error, {bad_option, term()} | not_found | traced | too_many | file:posix()}.
start(Who, Options0) ->
    Options = #{frames := Frames, content := Content} = maps:merge(defaults(), Options0),
    case [Key || {Key, Value} <- maps:to_list(Options), not is_valid(Key, Value)] of
        [] when Frames * Content > ?MAX_BYTES ->
            {error, {bad_option, content}};
        [] ->
            case outrider_connections:find(Who) of
                #{} = Connection -> started(gen_server:start(?MODULE, {Connection, Options}, []));
                undefined -> {error, not_found}
            end;
        [Key | _] ->
            {error, {bad_option, Key}}
    end.

started({error, {shutdown, Reason}}) -> {error, Reason};
started(Result) -> Result.

defaults() ->
    #{to => self(), frames => ?DEFAULT_FRAMES, time => ?DEFAULT_TIME_MS, content => 0}.

is_valid(to, {file, Name}) -> is_list(Name) orelse is_binary(Name);
is_valid(to, V) -> is_pid(V);
is_valid(frames, V) -> is_within(1, V, ?MAX_FRAMES);
is_valid(time, V) -> is_within(1, V, ?MAX_TIME_MS);
is_valid(content, V) -> is_within(0, V, ?MAX_CONTENT);
is_valid(_, _) -> false.

is_within(Least, V, Most) -> is_integer(V) andalso V >= Least andalso V =< Most.

%% End it before its time.
-spec stop(pid()) -> ok.
stop(Trace) ->
    gen_server:cast(Trace, stop).

-spec init({outrider_connections:connection(), options()}) -> {ok, #trace{}} | {stop, {shutdown, term()}}.
init({Connection = #{id := {Sidecar, Stream}}, Options = #{to := To0, content := Content, time := Time}}) ->
    case open(To0, Connection) of
        {ok, To} ->
            _ = monitor(process, Sidecar),
            case begun(Sidecar, Stream, maps:with([frames, time, content], Options)) of
                {ok, Number} ->
                    _ = erlang:send_after(Time, self(), stop),
                    {ok, #trace{sidecar = Sidecar, number = Number, stream = Stream, to = To, content = Content}};
                {error, Reason} ->
                    ok = discard(To0, To),
                    {stop, {shutdown, Reason}}
            end;
        {error, Reason} ->
            {stop, {shutdown, Reason}}
    end.

begun(Sidecar, Stream, Options) ->
    case outrider_sidecar:ask_sidecars([Sidecar], {trace, self(), Stream, Options}) of
        [Answer] -> Answer;
        [] -> {error, not_found}
    end.

open(Pid, _) when is_pid(Pid) ->
    {ok, {pid, Pid, monitor(process, Pid)}};
open({file, Name}, Connection) ->
    case file:write_file(Name, <<>>, [exclusive, raw]) of
        ok -> opened(private(Name), Name, Connection);
        {error, _} = Error -> Error
    end.

opened({ok, File}, _, Connection) ->
    ok = file:write(File, outrider_pcap:header()),
    {ok, {file, File, outrider_pcap:tags(Connection)}};
opened({error, _} = Error, Name, _) ->
    _ = file:delete(Name),
    Error.

%% A file that nobody else has been able to open, in the place of the one of this name. In a folder of our own it is made so first.
private(Name) ->
    Folder = filename:join(filename:dirname(Name), lists:concat([".trace-", os:getpid(), "-", erlang:unique_integer([positive])])),
    Hidden = filename:join(Folder, "trace"),
    try
        ok = file:make_dir(Folder),
        ok = file:change_mode(Folder, 8#700),
        {ok, File} = file:open(Hidden, [write, exclusive, raw, binary, {delayed_write, 65536, 1000}]),
        ok = file:change_mode(Hidden, 8#600),
        ok = file:rename(Hidden, Name),
        {ok, File}
    catch
        error:{badmatch, {error, _} = Error} -> Error
    after
        _ = file:delete(Hidden),
        _ = file:del_dir(Folder)
    end.

discard({file, Name}, {file, File, _}) ->
    _ = file:close(File),
    _ = file:delete(Name),
    ok;
discard(_, _) ->
    ok.

-spec handle_call(term(), gen_server:from(), #trace{}) -> {reply, term(), #trace{}}.
handle_call(_Request, _From, Trace) ->
    {reply, {error, ?MODULE}, Trace}.

-spec handle_cast(term(), #trace{}) -> {noreply, #trace{}}.
handle_cast(stop, Trace) ->
    {noreply, ending(Trace)};
handle_cast(_Message, Trace) ->
    {noreply, Trace}.

-spec handle_info(term(), #trace{}) -> {noreply, #trace{}} | {stop, normal, #trace{}}.
handle_info({seen, Number, Direction, Time, Header, Size, Content}, Trace = #trace{number = Number, frames = Frames}) ->
    ok = frame({Direction, Time, Header, Size, Content}, Trace),
    {noreply, Trace#trace{frames = Frames + 1}};
handle_info({traced, Number, stopped, Missed}, Trace = #trace{number = Number, ending = Ending}) ->
    finish(Ending, Missed, Trace);
handle_info({traced, Number, Reason, Missed}, Trace = #trace{number = Number}) ->
    finish(Reason, Missed, Trace);
%% No frame has come for it to notice that its time is over.
handle_info(stop, Trace) ->
    {noreply, ending(Trace, time)};
handle_info({ended, Reason}, Trace) ->
    finish(Reason, 0, Trace);
handle_info({'DOWN', Monitor, process, _, _}, Trace = #trace{to = {pid, _, Monitor}}) ->
    _ = ending(Trace),
    {stop, normal, Trace};
%% The sidecar, with the WebSocket.
handle_info({'DOWN', _, process, Sidecar, _}, Trace = #trace{sidecar = Sidecar}) ->
    finish(closed, 0, Trace);
handle_info(_Message, Trace) ->
    {noreply, Trace}.

ending(Trace) ->
    ending(Trace, stopped).

%% The sidecar has the last word, behind the frames that it has told; or none, if it stands still.
ending(Trace = #trace{sidecar = Sidecar, number = Number, stream = Stream}, Reason) ->
    ok = outrider_sidecar:untrace(Sidecar, Number, Stream),
    _ = erlang:send_after(?GRACE_MS, self(), {ended, Reason}),
    Trace#trace{ending = Reason}.

finish(Reason, Missed, Trace = #trace{to = {pid, Pid, _}, frames = Frames}) ->
    Pid ! {outrider, trace_end, self(), #{reason => Reason, frames => Frames, missed => Missed}},
    {stop, normal, Trace};
finish(_, _, Trace) ->
    {stop, normal, Trace}.

-spec terminate(term(), #trace{}) -> ok.
terminate(_Reason, #trace{to = {file, File, _}}) ->
    _ = file:close(File),
    ok;
terminate(_Reason, _) ->
    ok.

frame(Seen, #trace{to = {pid, Pid, _}, content = Most}) ->
    Frame = decoded(Seen),
    Pid ! {outrider, trace, self(), case Most of 0 -> maps:remove(content, Frame); _ -> Frame end},
    ok;
frame({Direction, Time, Header, Size, Content}, #trace{to = {file, File, Tags}}) ->
    %% A full disk ends nothing but what is on it.
    _ = file:write(File, outrider_pcap:packet(Time, maps:get(Direction, Tags), Header, Size, Content)),
    ok.

decoded({Direction, Time, <<Fin:1, Rsv:3, Opcode:4, IsMasked:1, _:7, _/binary>> = Header, Size, Content}) ->
    #{
        direction => Direction, time => Time, opcode => opcode(Opcode), fin => Fin =:= 1, rsv => Rsv, size => Size,
        content => unmasked(IsMasked, Header, Content)
    }.

opcode(0) -> continuation;
opcode(1) -> text;
opcode(2) -> binary;
opcode(8) -> close;
opcode(9) -> ping;
opcode(10) -> pong;
opcode(Reserved) -> Reserved.

unmasked(0, _, Content) ->
    Content;
unmasked(1, Header, Content) ->
    Bits = bit_size(Content),
    <<Masked:Bits>> = Content,
    Key = binary:part(Header, byte_size(Header), -4),
    <<Mask:Bits, _/bits>> = binary:copy(Key, byte_size(Content) div 4 + 1),
    <<(Masked bxor Mask):Bits>>.
