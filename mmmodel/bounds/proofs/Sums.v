(** Finite sums and searches: what the proofs need of them. *)
From Coq Require Import Arith Lia Bool.
From mmmodel Require Import System.

Lemma sum_le n f g : (forall i, i < n -> f i <= g i) -> sum n f <= sum n g.
Proof.
  induction n as [|n IH]; simpl; intros H; [lia|].
  assert (f n <= g n) by (apply H; lia).
  assert (sum n f <= sum n g) by (apply IH; intros; apply H; lia). lia.
Qed.

Lemma sum_ext n f g : (forall i, i < n -> f i = g i) -> sum n f = sum n g.
Proof. intros H. apply Nat.le_antisymm; apply sum_le; intros; rewrite H; auto. Qed.

Lemma sum_const n x : sum n (fun _ => x) = n * x.
Proof. induction n as [|n IH]; simpl; [reflexivity|]. rewrite IH. lia. Qed.

Lemma sum_add n f g : sum n (fun i => f i + g i) = sum n f + sum n g.
Proof. induction n as [|n IH]; simpl; [reflexivity|]. rewrite IH. lia. Qed.

Lemma sum_mul n x f : sum n (fun i => x * f i) = x * sum n f.
Proof. induction n as [|n IH]; simpl; [lia|]. rewrite IH. lia. Qed.

Lemma sum_longer n m f : n <= m -> sum n f <= sum m f.
Proof. induction 1; simpl; lia. Qed.

Lemma sum_member n f i : i < n -> f i <= sum n f.
Proof.
  induction n as [|n IH]; simpl; intros H; [lia|].
  destruct (Nat.eq_dec i n) as [->|]; [lia|]. assert (f i <= sum n f) by (apply IH; lia). lia.
Qed.

(** Two sums that differ in one place only. *)
Lemma sum_change n f g i :
  i < n -> (forall j, j < n -> j <> i -> g j = f j) -> sum n g + f i = sum n f + g i.
Proof.
  induction n as [|n IH]; simpl; intros Hi H; [lia|].
  destruct (Nat.eq_dec i n) as [->|Hn].
  - rewrite (sum_ext n g f); [lia|]. intros; apply H; lia.
  - rewrite (H n) by lia. assert (sum n g + f i = sum n f + g i) by (apply IH; [lia|intros; apply H; lia]). lia.
Qed.

Lemma sum_positive n f : 0 < sum n f -> exists i, i < n /\ 0 < f i.
Proof.
  induction n as [|n IH]; simpl; intros H; [lia|].
  destruct (Nat.eq_dec (f n) 0) as [E|]; [|exists n; lia].
  destruct IH as [i []]; [lia|]. exists i; lia.
Qed.

Lemma sum_swap n m f : sum n (fun i => sum m (f i)) = sum m (fun j => sum n (fun i => f i j)).
Proof.
  induction n as [|n IH]; simpl.
  - induction m as [|m IHm]; simpl; lia.
  - rewrite IH, <- sum_add. reflexivity.
Qed.

Lemma greatest_ge n f i : i < n -> f i <= greatest n f.
Proof.
  induction n as [|n IH]; simpl; intros H; [lia|].
  destruct (Nat.eq_dec i n) as [->|]; [lia|]. assert (f i <= greatest n f) by (apply IH; lia). lia.
Qed.

Lemma greatest_le n f x : (forall i, i < n -> f i <= x) -> greatest n f <= x.
Proof.
  induction n as [|n IH]; simpl; intros H; [lia|].
  assert (f n <= x) by (apply H; lia). assert (greatest n f <= x) by (apply IH; intros; apply H; lia). lia.
Qed.

Lemma greatest_reached n f : 0 < greatest n f -> exists i, i < n /\ f i = greatest n f.
Proof.
  induction n as [|n IH]; simpl; intros H; [lia|].
  destruct (le_lt_dec (greatest n f) (f n)).
  - exists n. lia.
  - destruct IH as [i []]; [lia|]. exists i. lia.
Qed.

(** Searching a finite range. *)
Lemma search (P : nat -> Prop) n : (forall i, {P i} + {~ P i}) -> {exists i, i < n /\ P i} + {forall i, i < n -> ~ P i}.
Proof.
  intros dec. induction n as [|n [IH|IH]].
  - right; lia.
  - left. destruct IH as [i []]. exists i; split; [lia|assumption].
  - destruct (dec n) as [H|H]; [left; exists n; split; [lia|assumption]|].
    right. intros i Hi. destruct (Nat.eq_dec i n) as [->|]; [assumption|apply IH; lia].
Qed.

Lemma same_request (q r : request) : {q = r} + {q <> r}.
Proof. decide equality; apply Nat.eq_dec. Qed.

Section Totals.
Variable st : stack.

Lemma total_le f g : (forall r, there st r -> f r <= g r) -> total st f <= total st g.
Proof. intros H. apply sum_le; intros k Hk. apply sum_le; intros i Hi. apply H. split; assumption. Qed.

Lemma total_ext f g : (forall r, there st r -> f r = g r) -> total st f = total st g.
Proof. intros H. apply Nat.le_antisymm; apply total_le; intros; rewrite H; auto. Qed.

Lemma total_member f r : there st r -> f r <= total st f.
Proof.
  destruct r as [k i]. intros [Hk Hi]. simpl in *.
  apply Nat.le_trans with (sum (depth st k) (fun i => f (k, i))).
  - apply (sum_member (depth st k) (fun i => f (k, i))). assumption.
  - apply (sum_member (classes st) (fun k => sum (depth st k) (fun i => f (k, i)))). assumption.
Qed.

Lemma total_change f g r :
  there st r -> (forall q, q <> r -> g q = f q) -> total st g + f r = total st f + g r.
Proof.
  destruct r as [k i]. intros [Hk Hi] H. simpl in *. unfold total.
  pose proof (sum_change (classes st) (fun k => sum (depth st k) (fun i => f (k, i)))
    (fun k => sum (depth st k) (fun i => g (k, i))) k Hk) as E1.
  pose proof (sum_change (depth st k) (fun i => f (k, i)) (fun i => g (k, i)) i Hi) as E2. simpl in *.
  assert (forall j, j < depth st k -> j <> i -> g (k, j) = f (k, j)) as A by (intros; apply H; congruence).
  specialize (E2 A). clear A.
  assert (forall j, j < classes st -> j <> k ->
    sum (depth st j) (fun i => g (j, i)) = sum (depth st j) (fun i => f (j, i))) as A
    by (intros; apply sum_ext; intros; apply H; congruence).
  specialize (E1 A). lia.
Qed.

Lemma total_zero f : (forall r, there st r -> f r = 0) -> total st f = 0.
Proof.
  intros H. rewrite (total_ext f (fun _ => 0) H). unfold total. rewrite (sum_ext _ _ (fun _ => 0)); [rewrite sum_const; lia|].
  intros. rewrite sum_const. lia.
Qed.

(** Where all but one are zero. *)
Lemma total_single f r : there st r -> (forall q, there st q -> q <> r -> f q = 0) -> total st f = f r.
Proof.
  intros Hr H. set (g := fun q => if same_request q r then f r else 0).
  rewrite (total_ext f g).
  - assert (g r = f r) as G by (unfold g; destruct (same_request r r); congruence).
    pose proof (total_change (fun _ => 0) g r Hr) as C. simpl in C.
    rewrite (total_zero (fun _ => 0)), G in C by reflexivity. rewrite <- plus_n_O in C. apply C.
    intros q N. unfold g. destruct (same_request q r); congruence.
  - intros q Hq. unfold g. destruct (same_request q r) as [->|]; auto.
Qed.

Lemma total_positive f : 0 < total st f -> exists r, there st r /\ 0 < f r.
Proof.
  intros H. apply sum_positive in H. destruct H as [k [Hk H]]. apply sum_positive in H. destruct H as [i [Hi H]].
  exists (k, i). repeat split; assumption.
Qed.

Lemma search_requests (P : request -> Prop) :
  (forall r, {P r} + {~ P r}) -> {exists r, there st r /\ P r} + {forall r, there st r -> ~ P r}.
Proof.
  intros dec.
  destruct (search (fun k => exists i, i < depth st k /\ P (k, i)) (classes st)) as [H|H].
  - intros k. destruct (search (fun i => P (k, i)) (depth st k)) as [H|H]; [auto|left; exact H|].
    right. intros [i [Hi Hp]]. exact (H i Hi Hp).
  - left. destruct H as [k [Hk [i [Hi Hp]]]]. exists (k, i). repeat split; assumption.
  - right. intros [k i] [Hk Hi] Hp. apply (H k Hk). exists i. split; assumption.
Qed.

(** The one for which f is least among those with P. *)
Lemma least_request (P : request -> Prop) (f : request -> nat) :
  (forall r, {P r} + {~ P r}) -> (exists r, there st r /\ P r) ->
  exists r, there st r /\ P r /\ forall q, there st q -> P q -> f r <= f q.
Proof.
  intros dec [r [Hr Hp]]. remember (f r) as x eqn:E. revert r Hr Hp E.
  induction x as [x IH] using lt_wf_ind. intros r Hr Hp E.
  destruct (search_requests (fun q => P q /\ f q < x)) as [[q [Hq [Pq L]]]|H].
  - intros q. destruct (dec q); [|right; tauto]. destruct (le_lt_dec x (f q)); [right; lia|left; tauto].
  - apply (IH (f q) L q Hq Pq eq_refl).
  - exists r. repeat split; try apply Hr; [assumption|]. intros q Hq Pq.
    destruct (le_lt_dec x (f q)); [lia|]. exfalso. apply (H q Hq). tauto.
Qed.
End Totals.
