(** First come, first served, one-shot release (QUE-1): any number of pools, lines, classes, steps and requests. *)
From Coq Require Import Arith Lia List Bool.
From mmmodel Require Import System Sums StuckState Lines.
Import ListNotations.

Section Lines.
Variables (st : stack) (fifo : nat -> bool) (served : nat -> nat -> bool).

Lemma fits_in_lines s came :
  reachable_in_lines st fifo served s came ->
  (forall p, p < pools st -> held st s p <= capacity st p).
Proof.
  intros R. induction R as [s Z|s came s' came' R IH M]; intros p Hp.
  - replace (held st s p) with 0; [lia|]. rewrite <- (held_empty st p). apply total_ext. intros r _. unfold empty. rewrite Z. reflexivity.
  - destruct M as [r W N E|r before behind Ec [Hr W] F H E A|r Hr W E A].
    + replace (held st s' p) with (held st s p); [auto|]. apply total_ext. intros q _. rewrite E. reflexivity.
    + rewrite (held_after_a_take st s s' r p) by assumption. apply F. assumption.
    + apply Nat.le_trans with (held st s p); [|auto]. apply held_le. intros q _.
      destruct (same_request q r) as [->|N]; [lia|rewrite (A q N); lia].
Qed.

(** A deadlock is a stuck state: by the place in the list, each is blocked by what does not fit or by one before it. *)
Lemma deadlock_is_stuck_in_lines s came D :
  reachable_in_lines st fifo served s came -> deadlocked_in_lines st fifo D s came -> stuck_in_lines st fifo D s.
Proof.
  intros R [Some [W H]]. split; [assumption|split].
  - assert (forall n before r behind, length before = n -> came = before ++ r :: behind -> there st r -> D r = true ->
      blocked_in_lines st fifo D s r) as B.
    { intros n. induction n as [n IH] using lt_wf_ind. intros before r behind L E Hr Dr.
      destruct (H before r behind E Hr Dr) as [NF|[b [Ib [Hb [Db O]]]]]; [apply does_not_fit; assumption|].
      apply (line_closed st fifo D s b r); try assumption.
      apply in_split in Ib. destruct Ib as [x [y Eb]].
      apply (IH (length x)) with (before := x) (behind := y ++ r :: behind); try assumption; [|reflexivity|].
      - subst before. rewrite app_length in L. simpl in L. lia.
      - subst before. rewrite E, <- app_assoc. reflexivity. }
    intros r Hr Dr. destruct (W r Hr Dr) as [Wr Ir]. split; [assumption|].
    apply in_split in Ir. destruct Ir as [x [y E]]. apply (B (length x) x r y); auto.
  - intros p Hp. apply Nat.le_trans with (held st s p); [|apply (fits_in_lines s came R p Hp)].
    apply held_le. intros q _. unfold only. destruct (D q); lia.
Qed.

(** Conversely. First the order in which the stuck requests shall stand: each does not fit, or stands behind one in its way. *)
Section Stuck.
Variables (D : request -> bool) (t : state).
Hypothesis stuck : stuck_in_lines st fifo D t.

Inductive good : list request -> Prop :=
| good_nil : good []
| good_snoc o r :
    good o -> ~ In r o -> there st r -> D r = true ->
    (~ fits st (only D t) r \/ exists b, In b o /\ there st b /\ D b = true /\ in_one_line st fifo t b r) -> good (o ++ [r]).

Lemma good_members o r : good o -> In r o -> there st r /\ D r = true.
Proof.
  induction 1 as [|o x G IH N Hx Dx C]; simpl; intros I; [contradiction|].
  apply in_app_or in I. destruct I as [I|[->|[]]]; auto.
Qed.

Lemma good_nodup o : good o -> NoDup o.
Proof.
  induction 1 as [|o x G IH N Hx Dx C]; [constructor|].
  apply NoDup_rev in IH. rewrite <- (rev_involutive (o ++ [x])). apply NoDup_rev. rewrite rev_app_distr. simpl.
  constructor; [|assumption]. intros I. apply N. apply in_rev. assumption.
Qed.

Lemma good_split o : good o -> forall before r behind, o = before ++ r :: behind ->
  ~ fits st (only D t) r \/ exists b, In b before /\ there st b /\ D b = true /\ in_one_line st fifo t b r.
Proof.
  induction 1 as [|o x G IH N Hx Dx C]; intros before r behind E; [destruct before; discriminate|].
  destruct (exists_last (l := r :: behind)) as [z [y Ez]]; [discriminate|].
  rewrite Ez, app_assoc in E. apply app_inj_tail in E. destruct E as [E ->].
  destruct z as [|z0 z].
  - simpl in Ez. injection Ez as -> _. rewrite app_nil_r in E. subst o. assumption.
  - simpl in Ez. injection Ez as -> _. apply (IH before z0 z). assumption.
Qed.

Lemma extended r : blocked_in_lines st fifo D t r -> forall o, good o -> exists o', good (o ++ o') /\ In r (o ++ o').
Proof.
  induction 1 as [r Hr Dr NF|b r Hr Dr B IH O]; intros o G.
  - destruct (in_dec same_request r o); [exists []; rewrite app_nil_r; tauto|].
    exists [r]. split; [apply good_snoc; tauto|apply in_or_app; simpl; tauto].
  - destruct (IH o G) as [o' [G' I]].
    destruct (in_dec same_request r (o ++ o')); [exists o'; tauto|].
    exists (o' ++ [r]). rewrite app_assoc. split; [|apply in_or_app; simpl; tauto].
    destruct (good_members _ b G' I). apply good_snoc; try assumption. right. exists b. tauto.
Qed.

Lemma all_requests : exists l, forall r, there st r -> In r l.
Proof.
  exists (flat_map (fun k => map (fun i => (k, i)) (seq 0 (depth st k))) (seq 0 (classes st))).
  intros [k i] [Hk Hi]. simpl in *. apply in_flat_map. exists k. split; [apply in_seq; lia|].
  apply in_map_iff. exists i. split; [reflexivity|apply in_seq; lia].
Qed.

Lemma ordered : exists o, good o /\ forall r, there st r -> D r = true -> In r o.
Proof.
  assert (forall l, exists o, good o /\ forall r, In r l -> there st r -> D r = true -> In r o) as X.
  { induction l as [|x l [o [G I]]]; [exists []; split; [constructor|simpl; tauto]|].
    assert ({there st x /\ D x = true} + {~ (there st x /\ D x = true)}) as Dec.
    { unfold there. destruct (lt_dec (class x) (classes st)); [|right; tauto].
      destruct (lt_dec (snd x) (depth st (class x))); [|right; tauto]. destruct (D x); [left; tauto|right; intros [_ Q]; discriminate]. }
    destruct Dec as [[Hx Dx]|N].
    - destruct stuck as [_ [W _]]. destruct (W x Hx Dx) as [_ B].
      destruct (extended x B o G) as [o' [G' I']]. exists (o ++ o'). split; [assumption|].
      intros r [->|Ir] Hr Dr; [assumption|]. apply in_or_app. left. auto.
    - exists o. split; [assumption|]. intros r [->|Ir] Hr Dr; [tauto|auto]. }
  destruct all_requests as [l Hl]. destruct (X l) as [o [G I]]. exists o. split; [assumption|]. auto.
Qed.

(** Then the way there, in rounds: after each round every one has d steps less than at the end, and those with less than d are outside. In
    a round each in its turn, being the head, takes once and joins again at the end. *)
Variable o : list request.
Hypothesis o_good : good o.
Hypothesis o_all : forall r, there st r -> D r = true -> In r o.

Definition present (d : nat) (l : list request) : list request := filter (fun r => d <=? t r) l.
Definition during (d : nat) (done : list request) : state :=
  fun r => if in_dec same_request r done then t r - d else if in_dec same_request r o then t r - S d else 0.

Lemma same_state s s' came :
  reachable_in_lines st fifo served s came -> (forall r, s' r = s r) -> reachable_in_lines st fifo served s' came.
Proof.
  intros R E. destruct R as [s Z|s0 came0 s came R M]; [apply at_first; intros; rewrite E; auto|].
  apply goes_in_lines with s0 came0; [assumption|]. destruct M as [r W N A|r before behind Ec W F H A B|r Hr W A B].
  - apply joins; auto. intros. rewrite E; auto.
  - rewrite <- (E r). apply takes_in_line; auto; intros; rewrite E; auto.
  - apply (is_done_in_line st fifo served s0 came0 s' r); auto; intros; rewrite E; auto.
Qed.

Lemma within d done p : (forall r, In r done -> In r o) -> p < pools st -> held st (during d done) p <= capacity st p.
Proof.
  intros I Hp. destruct stuck as [_ [_ C]]. apply Nat.le_trans with (held st (only D t) p); [|auto].
  apply held_le. intros r Hr. unfold during, only.
  destruct (in_dec same_request r done) as [Y|_].
  - destruct (good_members o r o_good (I r Y)) as [_ ->]. lia.
  - destruct (in_dec same_request r o) as [Y|_]; [|lia]. destruct (good_members o r o_good Y) as [_ ->]. lia.
Qed.

Lemma present_in d l r : In r (present d l) -> In r l.
Proof. unfold present. rewrite filter_In. tauto. Qed.

Lemma present_snoc d l r : present d (l ++ [r]) = present d l ++ if d <=? t r then [r] else [].
Proof. unfold present. rewrite filter_app. simpl. destruct (d <=? t r); reflexivity. Qed.

Lemma one_turn d done r rest :
  o = done ++ r :: rest ->
  reachable_in_lines st fifo served (during d done) (present (S d) (r :: rest) ++ present d done) ->
  reachable_in_lines st fifo served (during d (done ++ [r])) (present (S d) rest ++ present d (done ++ [r])).
Proof.
  intros E R.
  assert (In r o) as Ir by (rewrite E; apply in_or_app; simpl; tauto).
  destruct (good_members o r o_good Ir) as [Hr Dr].
  destruct stuck as [_ [W _]]. destruct (W r Hr Dr) as [[_ Wr] _].
  pose proof (good_nodup o o_good) as ND. rewrite E in ND.
  apply NoDup_remove_2 in ND. rewrite in_app_iff in ND.
  assert (during d done r = t r - S d) as Before.
  { unfold during. destruct (in_dec same_request r done); [tauto|]. destruct (in_dec same_request r o); tauto. }
  assert (during d (done ++ [r]) r = t r - d) as After.
  { unfold during. destruct (in_dec same_request r (done ++ [r])) as [_|N]; [reflexivity|].
    exfalso. apply N. apply in_or_app. simpl. tauto. }
  assert (forall q, q <> r -> during d (done ++ [r]) q = during d done q) as Others.
  { intros q N. unfold during. destruct (in_dec same_request q (done ++ [r])) as [I|I], (in_dec same_request q done) as [J|J]; try reflexivity.
    - apply in_app_or in I. simpl in I. destruct I as [I|[I|[]]]; [tauto|congruence].
    - exfalso. apply I. apply in_or_app. tauto. }
  assert (~ In r (present (S d) rest ++ present d done)) as Out.
  { rewrite in_app_iff. intros [I|I]; apply present_in in I; tauto. }
  rewrite present_snoc. destruct (le_lt_dec (S d) (t r)) as [L|L].
  - (* it is the head, takes, and joins again *)
    unfold present at 1 in R. simpl in R. replace (match t r with 0 => false | S m' => d <=? m' end) with true in R
      by (symmetry; apply (Nat.leb_le (S d) (t r)); assumption). fold (present (S d) rest) in R. simpl in R.
    replace (d <=? t r) with true by (symmetry; apply Nat.leb_le; lia).
    assert (waits st (during d (done ++ [r])) r) as Again by (split; [assumption|rewrite After; lia]).
    assert (waits st (during d done) r) as Now by (split; [assumption|rewrite Before; lia]).
    assert (during d (done ++ [r]) r = during d done r + 1) as One by lia.
    assert (fits st (during d done) r) as F.
    { intros p Hp. rewrite <- (held_after_a_take st (during d done) (during d (done ++ [r])) r p) by assumption.
      apply within; [|assumption]. intros q I. rewrite E. apply in_app_or in I. apply in_or_app. simpl in *. tauto. }
    assert (moves_in_lines st fifo served (during d done) (r :: present (S d) rest ++ present d done) (during d (done ++ [r]))
      ([] ++ (present (S d) rest ++ present d done) ++ if served (class r) (during d done r) then []
       else if during d (done ++ [r]) r <? steps st (class r) then [r] else [])) as M.
    { apply takes_in_line; try assumption; [reflexivity|]. simpl. tauto. }
    rewrite app_assoc. simpl in M. pose proof (goes_in_lines _ _ _ _ _ _ _ R M) as R'.
    destruct (served (class r) (during d done r)).
    + rewrite app_nil_r in R'. apply (goes_in_lines _ _ _ _ _ _ _ R'). apply joins; [assumption|assumption|reflexivity].
    + replace (during d (done ++ [r]) r <? steps st (class r)) with true in R'; [assumption|].
      symmetry. apply Nat.ltb_lt. apply Again.
  - unfold present at 1 in R. simpl in R. replace (match t r with 0 => false | S m' => d <=? m' end) with false in R
      by (symmetry; apply (Nat.leb_gt (S d) (t r)); lia). fold (present (S d) rest) in R.
    assert (forall q, during d (done ++ [r]) q = during d done q) as Same.
    { intros q. destruct (same_request q r) as [->|N]; [lia|auto]. }
    destruct (le_lt_dec d (t r)) as [L'|L'].
    + (* it comes in *)
      replace (d <=? t r) with true by (symmetry; apply Nat.leb_le; lia). rewrite app_assoc.
      apply (goes_in_lines _ _ _ _ _ _ _ R). apply joins; [split; [assumption|rewrite Before; lia]|assumption|assumption].
    + replace (d <=? t r) with false by (symmetry; apply Nat.leb_gt; lia). rewrite app_nil_r.
      apply same_state with (during d done); assumption.
Qed.

Lemma one_round d rest : forall done,
  o = done ++ rest ->
  reachable_in_lines st fifo served (during d done) (present (S d) rest ++ present d done) ->
  reachable_in_lines st fifo served (during d o) (present d o).
Proof.
  induction rest as [|r rest IH]; intros done E R.
  - rewrite app_nil_r in E. subst done. exact R.
  - apply (IH (done ++ [r])); [rewrite <- app_assoc; exact E|]. apply one_turn; assumption.
Qed.

Lemma all_rounds x d : total st t < x + d -> reachable_in_lines st fifo served (during d o) (present d o).
Proof.
  revert d. induction x as [|x IH]; intros d L.
  - assert (forall r, In r o -> t r < d) as Small.
    { intros r I. destruct (good_members o r o_good I) as [Hr _]. pose proof (total_member st t r Hr). lia. }
    replace (present d o) with (@nil request).
    + apply at_first. intros r. unfold during. destruct (in_dec same_request r o) as [I|I]; [specialize (Small r I); lia|reflexivity].
    + unfold present. clear - Small. induction o as [|r l IHl]; [reflexivity|]. simpl.
      replace (d <=? t r) with false; [apply IHl; intros; apply Small; simpl; tauto|].
      symmetry. apply Nat.leb_gt. apply Small. simpl. tauto.
  - apply (one_round d o []); [reflexivity|]. unfold present at 2. simpl. rewrite app_nil_r.
    apply same_state with (during (S d) o); [apply IH; lia|].
    intros r. unfold during. simpl. destruct (in_dec same_request r o); reflexivity.
Qed.

Lemma stuck_is_reached_in_lines :
  reachable_in_lines st fifo served (during 0 o) o /\ deadlocked_in_lines st fifo D (during 0 o) o.
Proof.
  assert (present 0 o = o) as P.
  { unfold present. clear. induction o as [|r l IH]; [reflexivity|]. simpl. f_equal. exact IH. }
  assert (forall r, In r o -> during 0 o r = t r) as At.
  { intros r I. unfold during. destruct (in_dec same_request r o); [lia|tauto]. }
  assert (forall r, there st r -> only D (during 0 o) r = only D t r) as Only.
  { intros r Hr. unfold only. destruct (D r) eqn:Dr; [apply At; auto|reflexivity]. }
  split; [rewrite <- P at 2; apply (all_rounds (S (total st t))); lia|].
  destruct stuck as [[r0 [Hr0 [D0 HS]]] [W C]].
  split; [exists r0; rewrite At by auto; tauto|split].
  - intros r Hr Dr. pose proof (o_all r Hr Dr) as I. destruct (W r Hr Dr) as [Wr _]. split; [|assumption].
    destruct Wr. split; [assumption|rewrite At; assumption].
  - intros before r behind E Hr Dr.
    assert (In r o) as Ir by auto.
    destruct (good_split o o_good before r behind E) as [NF|[b [Ib [Hb [Db [p [Hp [Fp [Tb Tr]]]]]]]]].
    + left. intros F. apply NF. intros p Hp. specialize (F p Hp). rewrite Only in F by assumption.
      replace (held st (only D t) p) with (held st (only D (during 0 o)) p); [assumption|].
      apply total_ext. intros q Hq. rewrite Only by assumption. reflexivity.
    + right. exists b. repeat split; try assumption; try apply Hb. exists p. rewrite !At by auto. tauto.
Qed.
End Stuck.

End Lines.

(** A deadlock is reachable iff a stuck state exists, where a blocked request closes its lines. *)
Theorem QUE_1 :
  forall (st : stack) (fifo : nat -> bool) (served : nat -> nat -> bool),
  (exists s came D, reachable_in_lines st fifo served s came /\ deadlocked_in_lines st fifo D s came)
  <-> (exists s D, stuck_in_lines st fifo D s).
Proof.
  intros st fifo served. split.
  - intros [s [came [D [R H]]]]. exists s, D. apply (deadlock_is_stuck_in_lines st fifo served s came); assumption.
  - intros [t [D H]]. destruct (ordered st fifo D t H) as [o [G I]]. exists (during t o 0 o), o, D.
    apply stuck_is_reached_in_lines; assumption.
Qed.
