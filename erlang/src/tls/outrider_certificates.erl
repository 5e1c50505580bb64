%%% The certificates of one listener with TLS: reads the files, gives the sidecars what they serve, and looks whether the files
%%% have changed.
%%%
%%% A gen_server beside the sidecars. They join it when they start, and get the settings that hold then; after that it tells
%%% them of each change. It looks at the files as often as OTP looks at those that it keeps (ssl_pem_cache_clean, two minutes),
%%% and at once when it is asked to. What cannot be read, or what the sidecars refuse, changes nothing, and is said once.
%%% A process of its own asks the listener's sni_fun about a host.
-module(outrider_certificates).
-behaviour(gen_server).

-export([start_link/2, join/1, reload/1, host/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
%% The start of a process.
-export([answer/2]).

%% As OTP's ssl_pem_cache.
-define(PERIOD_MS, 120000).
%% How long a sidecar may take to answer.
-define(ANSWER_MS, 5000).
%% How long sni_fun may take.
-define(HOST_MS, 30000).

-record(certificates, {
    ref :: ranch:ref(),
    %% What the sidecars serve; sealed.
    settings :: outrider_secret:sealed(),
    sidecars = #{} :: #{pid() => reference()},
    %% What was wrong the last time.
    complaint = none :: term()
}).

-spec start_link(ranch:ref(), map()) -> {ok, pid()} | {error, term()}.
start_link(Ref, TransOpts) ->
    gen_server:start_link(?MODULE, {Ref, TransOpts}, []).

%% The settings for the sidecar that calls this, which is told of each change from now on: a call {tls, Settings}.
-spec join(ranch:ref()) -> outrider_secret:sealed().
join(Ref) ->
    gen_server:call(outrider_registry:certificates(Ref), join, infinity).

%% Read all files again.
-spec reload(ranch:ref()) -> ok | {error, term()}.
reload(Ref) ->
    _ = outrider_registry:supervisor(Ref),
    gen_server:call(outrider_registry:certificates(Ref), reload, infinity).

%% Ask sni_fun about a host, and call Answer with the settings, undefined (those of the listener) or refused.
-spec host(ranch:ref(), binary(), fun((map() | undefined | refused) -> term())) -> ok.
host(Ref, Name, Answer) ->
    gen_server:cast(outrider_registry:certificates(Ref), {host, Name, Answer}).

-spec init({ranch:ref(), map()}) -> {ok, #certificates{}} | {stop, term()}.
init({Ref, TransOpts}) ->
    case outrider_credentials:settings(options(TransOpts)) of
        {ok, Settings} ->
            ok = outrider_registry:set_certificates(Ref, self()),
            _ = look_again(),
            {ok, #certificates{
                ref = Ref,
                settings = outrider_secret:seal(Settings)
            }};
        {error, Reason} ->
            {stop, {listen_error, Ref, Reason}}
    end.

-spec handle_call(term(), gen_server:from(), #certificates{}) -> {reply, term(), #certificates{}}.
%% A sidecar that has to be tried again comes more than once.
handle_call(join, {Pid, _}, State = #certificates{settings = Settings, sidecars = Sidecars}) when is_map_key(Pid, Sidecars) ->
    {reply, Settings, State};
handle_call(join, {Pid, _}, State = #certificates{settings = Settings, sidecars = Sidecars}) ->
    {reply, Settings, State#certificates{sidecars = Sidecars#{Pid => monitor(process, Pid)}}};
handle_call(reload, _From, State0) ->
    {Result, State} = read(asked, State0),
    {reply, Result, State};
handle_call(_Request, _From, State) ->
    {reply, {error, ?MODULE}, State}.

-spec handle_cast(term(), #certificates{}) -> {noreply, #certificates{}}.
handle_cast({host, Name, Answer}, State = #certificates{ref = Ref}) ->
    _ = spawn(fun() -> ask(Name, Answer, Ref) end),
    {noreply, State};
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #certificates{}) -> {noreply, #certificates{}}.
handle_info(look, State0) ->
    {_, State} = read(by_itself, State0),
    _ = look_again(),
    {noreply, State};
handle_info({'DOWN', _, process, Pid, _}, State = #certificates{sidecars = Sidecars}) ->
    {noreply, State#certificates{sidecars = maps:remove(Pid, Sidecars)}};
handle_info(_Message, State) ->
    {noreply, State}.

look_again() ->
    erlang:send_after(application:get_env(ssl, ssl_pem_cache_clean, ?PERIOD_MS), self(), look).

%% Asked for, it is passed on even if nothing has changed in the files: what sni_fun has said is forgotten, too.
%% Options that have been set since are those that count.
read(Why, State = #certificates{ref = Ref, settings = Sealed}) ->
    case outrider_credentials:settings(options(outrider_registry:transport_options(Ref))) of
        {ok, Settings} ->
            case Why =:= asked orelse outrider_secret:open(Sealed) =/= Settings of
                true -> told(outrider_secret:seal(Settings), State);
                false -> {ok, State#certificates{complaint = none}}
            end;
        {error, Reason} = Error ->
            {Error, complain(Reason, State)}
    end.

options(TransOpts) ->
    {Opts, _} = outrider_tls:split(maps:get(socket_opts, TransOpts, [])),
    Opts.

told(Settings, State = #certificates{sidecars = Sidecars}) ->
    case tell(maps:keys(Sidecars), {tls, Settings}) of
        ok -> {ok, State#certificates{settings = Settings, complaint = none}};
        {error, Reason} = Error -> {Error, complain(Reason, State)}
    end.

%% One that dies meanwhile has nothing to answer: the next one in its place joins.
tell(Sidecars, Request) ->
    Requests = [gen_server:send_request(Pid, Request) || Pid <- Sidecars],
    Deadline = {abs, erlang:monotonic_time(millisecond) + ?ANSWER_MS},
    Answers = [gen_server:receive_response(Id, Deadline) || Id <- Requests],
    case [Answer || Answer <- Answers, Answer =:= timeout orelse is_refusal(Answer)] of
        [] -> ok;
        [{reply, {error, _} = Error} | _] -> Error;
        [timeout | _] -> {error, timeout}
    end.

is_refusal({reply, {error, _}}) -> true;
is_refusal(_) -> false.

complain(Reason, State = #certificates{complaint = Reason}) ->
    State;
complain(Reason, State = #certificates{ref = Ref}) ->
    Logger = outrider_options:logger(outrider_registry:transport_options(Ref)),
    ranch:log(warning, "Outrider listener ~p keeps its certificates, since the new ones cannot be used: ~0tp~n",
        [Ref, Reason], Logger),
    State#certificates{complaint = Reason}.

-spec answer(binary(), map()) -> no_return().
answer(Name, TransOpts) ->
    exit({answer, outrider_secret:seal(
        try
            outrider_credentials:host(Name, options(TransOpts))
        catch
            Class:Reason:Stacktrace -> {error, {Class, element(1, outrider_discreet:error(Reason, Stacktrace))}}
        end
    )}).

%% The fun is the user's: it may crash, or take for ever.
ask(Name, Answer, Ref) ->
    TransOpts = outrider_registry:transport_options(Ref),
    {Pid, Monitor} = spawn_monitor(?MODULE, answer, [Name, TransOpts]),
    Result =
        receive
            {'DOWN', Monitor, process, Pid, {answer, Sealed}} -> outrider_secret:open(Sealed);
            {'DOWN', Monitor, process, Pid, _} -> {error, killed}
        after ?HOST_MS ->
            exit(Pid, kill),
            {error, timeout}
        end,
    case Result of
        {ok, Settings} ->
            Answer(Settings);
        {error, Why} ->
            ranch:log(error, "Outrider listener ~p has no certificate for ~ts, by its sni_fun: ~0tp~n", [Ref, Name, Why],
                outrider_options:logger(TransOpts)),
            Answer(refused)
    end.
